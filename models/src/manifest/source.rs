//! Places that a model's files can be fetched from.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FileSpec, is_plain_path};

/// One place to get files from. The store tries a manifest's sources in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A file in the local mirror folder.
    Mirror {
        /// Which of the manifest's files it is.
        path: String,
        /// Path inside the mirror folder.
        file: String,
    },
    /// Members of a wheel that `pip download` fetches.
    Pip {
        /// Distribution name.
        package: String,
        /// Exact version.
        version: String,
        /// pip's `--platform`; absent: a pure-Python wheel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wheel_platform: Option<String>,
        /// pip's `--python-version`, so that every machine gets the same wheel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        python_version: Option<String>,
        /// `OS-ARCH` that this source serves; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        /// The manifest's file path → the member's path in the wheel.
        members: BTreeMap<String, String>,
    },
    /// Members of a package that `npm pack` fetches.
    Npm {
        /// Package name.
        package: String,
        /// Exact version.
        version: String,
        /// The manifest's file path → the member's path in the archive.
        members: BTreeMap<String, String>,
    },
    /// A file at an upstream https address (never a package registry).
    Https {
        /// Which of the manifest's files it is.
        path: String,
        /// The address; only `https://` is accepted.
        url: String,
    },
}

impl Source {
    /// Whether this source serves the machine we run on.
    pub fn serves(&self, here: &str) -> bool {
        match self {
            Self::Pip { platform, .. } => platform.as_deref().is_none_or(|p| p == here),
            _ => true,
        }
    }

    /// Checks names against the manifest's files; says what is wrong.
    pub(super) fn validate(&self, files: &[FileSpec]) -> Result<(), String> {
        let known = |path: &str| {
            let found = files.iter().any(|f| f.path == path);
            found
                .then_some(())
                .ok_or_else(|| format!("{self}: {path:?} is not among the files"))
        };
        match self {
            Self::Mirror { path, file } => {
                known(path)?;
                if !is_plain_path(file) {
                    return Err(format!("{self}: {file:?} must stay inside the mirror"));
                }
            }
            Self::Pip {
                package,
                version,
                members,
                ..
            }
            | Self::Npm {
                package,
                version,
                members,
            } => {
                // The values become arguments of a child process: nothing may look like an option.
                if !is_requirement(package) || !is_requirement(version) {
                    return Err(format!("{self}: package or version has odd characters"));
                }
                if members.is_empty() {
                    return Err(format!("{self}: no members"));
                }
                members.keys().try_for_each(|path| known(path))?;
            }
            Self::Https { path, url } => {
                known(path)?;
                if !url.starts_with("https://") {
                    return Err(format!("{self}: only https:// is accepted"));
                }
            }
        }
        Ok(())
    }
}

fn is_requirement(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"@/._-+".contains(&b))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror { file, .. } => write!(f, "mirror {file}"),
            Self::Pip {
                package, version, ..
            } => write!(f, "pip {package}=={version}"),
            Self::Npm {
                package, version, ..
            } => write!(f, "npm {package}@{version}"),
            Self::Https { url, .. } => f.write_str(url),
        }
    }
}
