//! The engines that graphs are given to, and how their library is found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use novastream_models::{
    catalog::catalog_entry, encoder::Int8Classifier, manifest::Manifest, store::ArtifactStore,
};

use crate::{
    backend::{BackendChoice, CandleSession, NativeSession, OnnxRuntime, Session},
    engine::{Batched, Limits, Plan, SINGLES, WHOLES},
};

/// Names the shared library for programs that have no configuration file.
pub const ONNXRUNTIME_VARIABLE: &str = "NOVASTREAM_ONNXRUNTIME";

/// The engines that graphs are given to.
pub(crate) struct Engines {
    /// ONNX Runtime, or why it is not used.
    pub runtime: Result<OnnxRuntime, String>,
    /// Whether our own kernels run the text encoder and the picture networks.
    pub native: bool,
    /// Whether Candle may stand in for it.
    pub candle: bool,
    /// Calls at once.
    pub threads: usize,
}

/// The library at `named`, else the environment's, else the store's.
pub(crate) fn runtime(named: Option<&Path>, store: &ArtifactStore) -> Result<OnnxRuntime, String> {
    let mut tried = Vec::new();
    let mut attempt = |path: &Path| match OnnxRuntime::load(path) {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            tried.push(error.to_string());
            None
        }
    };
    let variable = std::env::var_os(ONNXRUNTIME_VARIABLE).filter(|v| !v.is_empty());
    let named = named.map(Path::to_owned).into_iter();
    for path in named.chain(variable.map(PathBuf::from)) {
        if let Some(runtime) = attempt(&path) {
            return Ok(runtime);
        }
    }
    let manifest = catalog_entry("onnxruntime").ok_or("the catalogue has no onnxruntime")?;
    match store.file(&manifest, "libonnxruntime.so") {
        Ok(path) => {
            if let Some(runtime) = attempt(&path) {
                return Ok(runtime);
            }
        }
        Err(error) => tried.push(error.to_string()),
    }
    Err(tried.join("; "))
}

impl Engines {
    /// What `choice` allows, `threads` calls at once; `named` is the library that the configuration
    /// names.
    pub(crate) fn find(
        choice: BackendChoice,
        named: Option<&Path>,
        store: &ArtifactStore,
        threads: usize,
    ) -> Self {
        Self {
            runtime: match choice {
                BackendChoice::Candle => {
                    Err("ONNX Runtime is turned off by the configuration".to_owned())
                }
                BackendChoice::Auto | BackendChoice::Onnx => runtime(named, store),
            },
            // Both need the same instructions.
            native: choice == BackendChoice::Auto && Int8Classifier::is_fast(),
            candle: choice != BackendChoice::Onnx,
            threads: threads.max(1),
        }
    }

    /// A session for a verified graph: `width` calls at once, `threads` threads each.
    pub(crate) fn session(
        &self,
        graph: &[u8],
        threads: usize,
        width: usize,
    ) -> Result<Arc<dyn Session>, String> {
        match &self.runtime {
            Ok(runtime) => runtime
                .session(graph, threads, width)
                .map(|s| Arc::new(s) as Arc<dyn Session>)
                .map_err(|e| e.to_string()),
            Err(reason) if !self.candle => Err(reason.clone()),
            Err(_) => CandleSession::load(graph)
                .map(|s| Arc::new(s) as Arc<dyn Session>)
                .map_err(|e| e.to_string()),
        }
    }

    /// A session for a verified picture network: our own kernels if they can run it.
    pub(crate) fn pictures(
        &self,
        manifest: &Manifest,
        graph: &[u8],
    ) -> Result<Arc<Batched>, String> {
        if self.native {
            match NativeSession::load(graph) {
                Ok(session) => return self.batches(manifest, SINGLES, Arc::new(session)),
                Err(error) => {
                    tracing::warn!(%error, model = %manifest.name, "our own kernels can't run it");
                }
            }
        }
        self.batched(manifest, graph)
    }

    /// A session whose rows share batches with those of other calls.
    pub(crate) fn batched(
        &self,
        manifest: &Manifest,
        graph: &[u8],
    ) -> Result<Arc<Batched>, String> {
        self.batches(manifest, WHOLES, self.session(graph, 1, self.threads)?)
    }

    fn batches(
        &self,
        manifest: &Manifest,
        limits: Limits,
        session: Arc<dyn Session>,
    ) -> Result<Arc<Batched>, String> {
        let plan = Plan {
            model: &manifest.name,
            version: &manifest.version,
            workers: self.threads,
            limits,
            padded: None,
        };
        Batched::start(plan, session)
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }
}
