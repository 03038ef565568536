//! The policies that are loaded, by name.

use std::path::PathBuf;
use std::sync::Arc;

use novastream_inference::{Policy, PolicyError};

use crate::error::{ApiError, ErrorCode};

/// One policy that decides by default, and those that a request may name.
#[derive(Debug, Clone)]
pub struct Policies {
    all: Vec<Arc<Policy>>,
}

impl Policies {
    /// Loads `default` (the built-in policy when absent) and `more`.
    ///
    /// # Errors
    /// A file that cannot be read or is not a valid policy.
    pub fn load(default: Option<&PathBuf>, more: &[PathBuf]) -> Result<Self, PolicyError> {
        let first = match default {
            Some(path) => Policy::load(path)?,
            None => Policy::builtin()?,
        };
        let mut all = vec![Arc::new(first)];
        for path in more {
            all.push(Arc::new(Policy::load(path)?));
        }
        Ok(Self { all })
    }

    /// The policy that decides when a request names none.
    pub fn default_policy(&self) -> &Arc<Policy> {
        &self.all[0]
    }

    /// The policy called `name`: an id, or `id@version`. No name is the default.
    ///
    /// # Errors
    /// `policy_unknown`.
    pub fn get(&self, name: Option<&str>) -> Result<&Arc<Policy>, ApiError> {
        let Some(name) = name else {
            return Ok(self.default_policy());
        };
        self.all
            .iter()
            .find(|p| p.id() == name || p.label() == name)
            .ok_or_else(|| {
                let known: Vec<String> = self.all.iter().map(|p| p.label()).collect();
                let detail = format!("`{name}` is not loaded; there is {}", known.join(", "));
                ApiError::new(ErrorCode::PolicyUnknown, detail)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_by_id_and_by_version() {
        let policies = Policies::load(None, &[]).unwrap();
        let label = policies.default_policy().label();
        let id = policies.default_policy().id().to_owned();
        for name in [None, Some(id.as_str()), Some(label.as_str())] {
            assert_eq!(policies.get(name).unwrap().label(), label);
        }
        let e = policies.get(Some("nope")).unwrap_err();
        assert_eq!(e.code, ErrorCode::PolicyUnknown);
        assert!(e.detail.contains(&label), "{}", e.detail);
    }
}
