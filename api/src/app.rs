//! Everything a request handler can reach.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use novastream_inference::recommend::Recommender;
use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::evidence::Clips;
use crate::governor::Governor;
use crate::histories::Histories;
use crate::judge::Judge;
use crate::lifecycle::Lifecycle;
use crate::oip::Repository;
use crate::policies::Policies;
use crate::pool::{ByteBudget, Pool};
use crate::store::Store;
use crate::watch::{Opener, Parts, StoreSink, WatchManager};

/// The service's state; clones share it.
#[derive(Clone)]
pub struct App {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The models.
    pub judge: Arc<dyn Judge>,
    /// The policies by name.
    pub policies: Policies,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Workers and their queue.
    pub pool: Pool,
    /// Workers for chat messages, many: they mostly wait for the encoder, whose batches they share.
    pub texts: Pool,
    /// The models that clients of the Open Inference Protocol may call.
    pub repository: Repository,
    /// The bound on request bodies in memory.
    pub budget: ByteBudget,
    /// How much pictures are spread out for want of time.
    pub governor: Governor,
    /// Where evidence clips are kept, if anywhere.
    pub clips: Option<Clips>,
    /// Temporal state of streams.
    pub histories: Histories,
    /// What to watch next.
    pub recommender: Arc<Recommender>,
    /// Workers for lists, apart from those that judge: a list must not wait for a segment.
    pub lists: Pool,
    /// Whose turn it is to replace the live set.
    pub live_turn: Arc<tokio::sync::Mutex<()>>,
    /// Live watches.
    pub watches: WatchManager,
    /// Starting, draining, stopping.
    pub lifecycle: Lifecycle,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Places for event streams.
    pub sse_places: Arc<Semaphore>,
}

impl App {
    /// Puts the parts together. Watches are not resumed yet.
    pub fn new(
        settings: Settings,
        judge: Arc<dyn Judge>,
        policies: Policies,
        store: Arc<dyn Store>,
        opener: Arc<dyn Opener>,
        recommender: Arc<Recommender>,
        metrics: PrometheusHandle,
    ) -> Self {
        let pool = Pool::new(settings.workers(), settings.queue.waiting);
        let repository = Repository::new(Arc::clone(&judge), settings.oip.control);
        let texts = Pool::new(settings.text_workers(), settings.queue.waiting);
        let lists = Pool::new(settings.workers(), settings.queue.waiting);
        let histories = Histories::new(Arc::clone(&store));
        let governor = Governor::default();
        let watches = WatchManager::new(Parts {
            store: Arc::clone(&store),
            sink: Arc::new(StoreSink::new(Arc::clone(&store), histories.clone())),
            judge: Arc::clone(&judge),
            pool: pool.clone(),
            opener,
            policies: policies.clone(),
            settings: settings.watch.clone(),
            governor: governor.clone(),
        });
        Self {
            budget: ByteBudget::new(settings.limits.in_flight_bytes),
            sse_places: Arc::new(Semaphore::new(settings.sse.max_clients)),
            settings: Arc::new(settings),
            judge,
            policies,
            store,
            pool,
            texts,
            repository,
            governor,
            clips: None,
            histories,
            recommender,
            lists,
            live_turn: Arc::default(),
            watches,
            lifecycle: Lifecycle::default(),
            metrics,
        }
    }
}
