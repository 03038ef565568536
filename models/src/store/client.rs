//! Runs the package clients as child processes: `python3 -m pip download` and `npm pack`.
//!
//! The clients know their registries, proxies and credentials; this crate names no registry.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::FetchError;

/// Which programs fetch packages, and for how long they may run.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Runs `-m pip`; `python3` from the path by default.
    pub python: PathBuf,
    /// `npm` from the path by default.
    pub npm: PathBuf,
    /// A client that runs longer is stopped; ten minutes by default.
    pub timeout: Duration,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            python: PathBuf::from("python3"),
            npm: PathBuf::from("npm"),
            timeout: Duration::from_mins(10),
        }
    }
}

const PIP_HINT: &str = "on Debian and Ubuntu: apt install python3-pip";
const NPM_HINT: &str = "on Debian and Ubuntu: apt install npm";

impl Clients {
    /// Downloads the wheel of `package==version` into `dir` and returns its path.
    /// `wheel_platform` and `python_version` pin the same wheel on every machine.
    pub fn pip_download(
        &self,
        package: &str,
        version: &str,
        wheel_platform: Option<&str>,
        python_version: Option<&str>,
        dir: &Path,
    ) -> Result<PathBuf, FetchError> {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]);
        command.args(["--no-input", "--disable-pip-version-check", "--quiet"]);
        if let Some(platform) = wheel_platform {
            command.args(["--platform", platform]);
        }
        if let Some(python) = python_version {
            command.args(["--python-version", python]);
        }
        command
            .arg("--dest")
            .arg(dir)
            .arg(format!("{package}=={version}"));
        self.run("pip", PIP_HINT, command, dir)?;
        single_file(dir, ".whl")
    }

    /// Packs `package@version` into `dir` and returns the archive's path.
    pub fn npm_pack(
        &self,
        package: &str,
        version: &str,
        dir: &Path,
    ) -> Result<PathBuf, FetchError> {
        let mut command = Command::new(&self.npm);
        command.args([
            "pack",
            "--ignore-scripts",
            "--loglevel=error",
            "--pack-destination",
        ]);
        // npm reads a package.json of its working folder; the empty folder has none.
        command
            .arg(dir)
            .arg(format!("{package}@{version}"))
            .current_dir(dir);
        self.run("npm", NPM_HINT, command, dir)?;
        single_file(dir, ".tgz")
    }

    fn run(
        &self,
        client: &'static str,
        hint: &'static str,
        mut command: Command,
        dir: &Path,
    ) -> Result<(), FetchError> {
        // A file, not a pipe: nobody has to drain it while we wait with a time limit.
        let log = dir.join("client.log");
        let stderr = File::create(&log).map_err(|e| FetchError::io(log.display(), &e))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(FetchError::ClientMissing { client, hint });
            }
            Err(error) => return Err(FetchError::io(client, &error)),
        };
        let started = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if started.elapsed() < self.timeout => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(None) => {
                    // Failure to stop it changes nothing for the caller: the source did not deliver.
                    let _ = child.kill();
                    let _ = child.wait();
                    let seconds = started.elapsed().as_secs();
                    return Err(FetchError::ClientTimeout { client, seconds });
                }
                Err(error) => return Err(FetchError::io(client, &error)),
            }
        };
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if text.contains("No module named pip") {
            return Err(FetchError::ClientMissing { client, hint });
        }
        let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(3)..].join(" | ");
        let message = if tail.is_empty() {
            status.to_string()
        } else {
            tail
        };
        Err(FetchError::ClientFailed { client, message })
    }
}

/// The one file in `dir` that ends with `suffix`.
fn single_file(dir: &Path, suffix: &str) -> Result<PathBuf, FetchError> {
    let entries = std::fs::read_dir(dir).map_err(|e| FetchError::io(dir.display(), &e))?;
    let mut found: Vec<_> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.to_string_lossy().ends_with(suffix))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        _ => Err(FetchError::Archive {
            message: format!("expected one {suffix} file"),
        }),
    }
}
