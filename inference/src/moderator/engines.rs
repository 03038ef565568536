//! The engines that graphs are given to, and how their library is found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use novastream_models::{catalog::catalog_entry, manifest::Manifest, store::ArtifactStore};

use crate::{
    backend::{CandleSession, OnnxRuntime, Session},
    engine::{Batched, Plan, WHOLES},
};

/// Names the shared library for programs that have no configuration file.
pub const ONNXRUNTIME_VARIABLE: &str = "NOVASTREAM_ONNXRUNTIME";

/// The engines that graphs are given to.
pub(crate) struct Engines {
    /// ONNX Runtime, or why it is not used.
    pub runtime: Result<OnnxRuntime, String>,
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

    /// A session whose rows share batches with those of other calls.
    pub(crate) fn batched(
        &self,
        manifest: &Manifest,
        graph: &[u8],
    ) -> Result<Arc<Batched>, String> {
        let plan = Plan {
            model: &manifest.name,
            version: &manifest.version,
            workers: self.threads,
            limits: WHOLES,
            padded: None,
        };
        let session = self.session(graph, 1, self.threads)?;
        Batched::start(plan, session)
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }
}
