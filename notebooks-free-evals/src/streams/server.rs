//! The service that is measured: one that runs, or one that is started for the purpose.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::StreamOptions;
use crate::error::EvalError;

/// Time that starting may take, models included.
const START: Duration = Duration::from_mins(3);

/// A reachable service. One that was started here ends with this value.
#[derive(Debug)]
pub(super) struct Service {
    pub target: String,
    pub pid: Option<u32>,
    started: Option<(Child, PathBuf)>,
}

impl Service {
    pub(super) async fn reach(options: &StreamOptions) -> Result<Self, EvalError> {
        match (&options.server, &options.target) {
            (Some(program), _) => Self::start(program).await,
            (None, Some(target)) => Ok(Self {
                target: target.trim_end_matches('/').to_owned(),
                pid: options.pid,
                started: None,
            }),
            (None, None) => Err(EvalError::usage("give --target or --server")),
        }
    }

    async fn start(program: &Path) -> Result<Self, EvalError> {
        let folder =
            std::env::temp_dir().join(format!("novastream-streams-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(EvalError::io("write", &folder))?;
        let ready = folder.join("ready");
        let child = Command::new(program)
            .arg("serve")
            .arg("--ready-file")
            .arg(&ready)
            .env("NOVASTREAM__LISTEN", "127.0.0.1:0")
            .env("NOVASTREAM__DATA_DIR", &folder)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(EvalError::io("read", program))?;
        let pid = child.id();
        let mut service = Self {
            target: String::new(),
            pid,
            started: Some((child, folder)),
        };
        let end = Instant::now() + START;
        loop {
            if let Ok(address) = std::fs::read_to_string(&ready)
                && address.ends_with('\n')
            {
                address.trim().clone_into(&mut service.target);
                return Ok(service);
            }
            let ended = match &mut service.started {
                Some((child, _)) => child.try_wait().ok().flatten(),
                None => None,
            };
            if let Some(status) = ended {
                return Err(EvalError::internal(format!("the service ended: {status}")));
            }
            if Instant::now() > end {
                return Err(EvalError::internal("the service did not become ready"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some((child, folder)) = &mut self.started {
            // Already gone is as good.
            let _ = child.start_kill();
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
