//! Configuration: defaults, then a TOML file, then the environment; checked once at the start.

pub mod env;
mod settings;
mod validate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat, Map, Source, Value, ValueKind};

pub use settings::{
    BackendChoice, EvidenceSettings, ImageUrlSettings, LimitSettings, LogFormat, LogSettings,
    ModelSettings, QueueSettings, RetentionSettings, SamplingSettings, Settings, ShutdownSettings,
    SseSettings, StoreSettings, TelemetrySettings, WatchSettings,
};

/// What is wrong with the configuration. The text tells what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{message}")]
    Parse {
        /// The parser's message, with the key and the place it came from.
        message: String,
    },
    /// A key that no setting has.
    #[error("unknown setting `{key}` in {origin}{}", hint_text(*.hint))]
    Unknown {
        /// The key, dotted.
        key: String,
        /// The file or variable it came from.
        origin: String,
        /// The key that was probably meant.
        hint: Option<&'static str>,
    },
    /// A value outside its range.
    #[error("`{key}` is wrong: {problem} (set it in the file or with {})", env::variable(.key))]
    Invalid {
        /// The key, dotted.
        key: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl ConfigError {
    /// A stable name for the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config_unreadable",
            Self::Parse { .. } => "config_malformed",
            Self::Unknown { .. } => "config_unknown_key",
            Self::Invalid { .. } => "config_invalid",
        }
    }
}

fn hint_text(hint: Option<&'static str>) -> String {
    hint.map_or_else(
        || "; config/novastream.toml lists them all".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}

impl Settings {
    /// Defaults, overridden by `file` and then by this process's environment.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a value outside its range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, std::env::vars().collect())
    }

    /// [`Self::load`] with the environment given.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        file: Option<&Path>,
        environment: HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
        };
        let name = file.map_or_else(String::new, |p| p.display().to_string());
        Self::merge(&name, &text, environment)
    }

    fn merge(
        name: &str,
        text: &str,
        environment: HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let file = File::from_str(text, FileFormat::Toml);
        let from_file = file.collect().map_err(|e| ConfigError::Parse {
            message: format!("{name} is not valid TOML: {}", strip(&e.to_string())),
        })?;
        reject_unknown("", &from_file, &|_| name.to_owned())?;

        let mut source = Environment::with_prefix(env::PREFIX)
            .prefix_separator(env::SEPARATOR)
            .separator(env::SEPARATOR)
            .list_separator(",")
            .try_parsing(true)
            .ignore_empty(true)
            .source(Some(environment));
        for key in env::LIST_KEYS {
            source = source.with_list_parse_key(key);
        }
        let from_env = source.collect().map_err(parse_error)?;
        reject_unknown("", &from_env, &env::variable)?;

        let settings: Self = Config::builder()
            .add_source(file)
            .add_source(source)
            .build()
            .and_then(Config::try_deserialize)
            .map_err(parse_error)?;
        validate::check(&settings)?;
        Ok(settings)
    }
}

fn parse_error(e: config::ConfigError) -> ConfigError {
    ConfigError::Parse {
        message: format!("the configuration is wrong: {}", strip(&e.to_string())),
    }
}

/// One line instead of the parser's drawing.
fn strip(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn reject_unknown(
    prefix: &str,
    table: &Map<String, Value>,
    origin: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let is_table = env::KEYS
            .iter()
            .any(|(k, _)| k.starts_with(&format!("{key}.")));
        match &value.kind {
            ValueKind::Table(inner) if is_table => reject_unknown(&key, inner, origin)?,
            _ if env::KEYS.iter().any(|(k, _)| *k == key) => {}
            _ => {
                let hint = env::nearest(&key);
                return Err(ConfigError::Unknown {
                    origin: origin(&key),
                    hint,
                    key,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(
            Settings::load_with(None, vars(&[])).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "listen = \"127.0.0.1:1\"\n[queue]\nwaiting = 5\nworkers = 3\n";
        let env = vars(&[
            ("NOVASTREAM__QUEUE__WAITING", "9"),
            ("NOVASTREAM__WATCH__SCHEMES", "https,srt"),
            ("NOVASTREAM__WATCH__ALLOW_FILES", "true"),
            ("NOVASTREAM__DATA_DIR", "somewhere"),
            // Read by the library crates, no setting.
            ("NOVASTREAM_MODELS", "elsewhere"),
        ]);
        let s = Settings::merge("a file", text, env).unwrap();
        assert_eq!((s.queue.waiting, s.queue.workers), (9, 3));
        assert_eq!(s.listen.port(), 1);
        assert_eq!(s.watch.schemes, ["https", "srt"]);
        assert!(s.watch.allow_files);
        assert_eq!(s.data_dir, PathBuf::from("somewhere"));
    }

    #[test]
    fn unknown_keys_name_their_place_and_a_hint() {
        let e = Settings::merge("my.toml", "[watch]\nmaxx = 3\n", vars(&[])).unwrap_err();
        assert_eq!(e.code(), "config_unknown_key");
        assert_eq!(
            e.to_string(),
            "unknown setting `watch.maxx` in my.toml; did you mean `watch.max`?"
        );
        let env = vars(&[("NOVASTREAM__LISTNE", "x")]);
        let e = Settings::merge("", "", env).unwrap_err().to_string();
        assert!(
            e.contains("NOVASTREAM__LISTNE") && e.contains("did you mean `listen`?"),
            "{e}"
        );
        let e = Settings::merge("f", "[zzzzzzzzzz]\nq = 1\n", vars(&[]))
            .unwrap_err()
            .to_string();
        assert!(e.contains("config/novastream.toml"), "{e}");
    }

    #[test]
    fn wrong_types_and_broken_files_say_so() {
        let e = Settings::merge("f", "[queue]\nwaiting = \"many\"\n", vars(&[])).unwrap_err();
        assert_eq!(e.code(), "config_malformed");
        assert!(e.to_string().contains("waiting"), "{e}");
        let e = Settings::merge("f.toml", "listen = [", vars(&[])).unwrap_err();
        assert!(e.to_string().contains("f.toml"), "{e}");
        let e = Settings::load_with(Some(Path::new("/no/such/file")), vars(&[])).unwrap_err();
        assert_eq!(e.code(), "config_unreadable");
    }

    #[test]
    fn the_default_file_says_what_the_defaults_are_and_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/novastream.toml");
        let loaded = Settings::load_with(Some(&path), vars(&[])).unwrap();
        assert_eq!(loaded, Settings::default());
        let text = std::fs::read_to_string(path).unwrap();
        for (key, _) in env::KEYS {
            let leaf = key.rsplit('.').next().unwrap();
            let named = text.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                line.split('=').next().is_some_and(|k| k.trim() == leaf) && line.contains('=')
            });
            assert!(named, "{key} is missing from config/novastream.toml");
        }
    }
}
