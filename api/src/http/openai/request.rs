//! The request: what OpenAI's documentation allows as `input`.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use utoipa::ToSchema;

use super::invalid;
use crate::config::LimitSettings;
use crate::error::{ApiError, ErrorCode};

/// Most pictures in one request.
pub const MAX_PICTURES: usize = 8;

/// Padding is often left out of data URLs.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to moderate.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ModerationRequest {
    /// A string, a list of strings, or a list of `text` and `image_url` parts.
    pub input: Input,
    /// Accepted whatever it says: the service has one set of models and the answer names it.
    #[serde(default)]
    #[schema(example = "omni-moderation-latest")]
    #[allow(dead_code, reason = "accepted for its clients")]
    pub model: Option<String>,
}

/// The three forms of `input`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`input` must be a string, a list of strings, or a list of \
    {\"type\": \"text\", \"text\": …} and {\"type\": \"image_url\", \"image_url\": {\"url\": …}}"
)]
pub enum Input {
    /// One text.
    One(String),
    /// Several texts, one result each.
    Many(Vec<String>),
    /// Texts and pictures that belong together, one result.
    Parts(Vec<Part>),
}

/// One part of an input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// A text.
    Text {
        /// The text as it was written.
        text: String,
    },
    /// A picture.
    ImageUrl {
        /// Where it is.
        image_url: ImageUrl,
    },
}

/// Where a picture is.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ImageUrl {
    /// A `data:` URL with base64, or an http(s) URL that the settings allow.
    #[schema(example = "data:image/png;base64,iVBORw0KGgo=")]
    pub url: String,
}

/// One thing to judge.
#[derive(Debug)]
pub enum Content {
    /// A text.
    Text(String),
    /// The bytes of a picture.
    Picture(Vec<u8>),
    /// A picture that has to be fetched first.
    Url(String),
}

impl Content {
    /// Whether it is one, here or still to be fetched.
    pub fn is_picture(&self) -> bool {
        !matches!(self, Self::Text(_))
    }
}

impl ModerationRequest {
    /// The contents of each result.
    ///
    /// # Errors
    /// `invalid_item`, `too_many_items`, `body_too_large`.
    pub fn contents(self, limits: &LimitSettings) -> Result<Vec<Vec<Content>>, ApiError> {
        let contents = match self.input {
            Input::One(text) => vec![vec![Content::Text(text)]],
            Input::Many(texts) => {
                let one = |text| vec![Content::Text(text)];
                texts.into_iter().map(one).collect()
            }
            Input::Parts(parts) => vec![
                parts
                    .into_iter()
                    .enumerate()
                    .map(|(index, part)| content(index, part))
                    .collect::<Result<Vec<_>, _>>()?,
            ],
        };
        check(&contents, limits)?;
        Ok(contents)
    }
}

fn check(contents: &[Vec<Content>], limits: &LimitSettings) -> Result<(), ApiError> {
    if contents.iter().all(Vec::is_empty) {
        return Err(invalid("`input` is empty"));
    }
    let all = || contents.iter().flatten();
    if all().any(|c| matches!(c, Content::Text(text) if text.is_empty())) {
        return Err(invalid("`input` holds an empty string"));
    }
    let count = all().count();
    if count > limits.text_items {
        let detail = format!(
            "{count} inputs came; limits.text_items allows {}",
            limits.text_items
        );
        return Err(ApiError::new(ErrorCode::TooManyItems, detail).about("input"));
    }
    let pictures = all().filter(|c| !matches!(c, Content::Text(_))).count();
    if pictures > MAX_PICTURES {
        let detail = format!("{pictures} pictures came; one request may have {MAX_PICTURES}");
        return Err(ApiError::new(ErrorCode::TooManyItems, detail).about("input"));
    }
    let text: usize = all()
        .map(|c| match c {
            Content::Text(text) => text.len(),
            _ => 0,
        })
        .sum();
    let largest = all()
        .map(|c| match c {
            Content::Picture(bytes) => bytes.len(),
            _ => 0,
        })
        .max();
    for (bytes, limit, name) in [
        (text, limits.text_bytes, "limits.text_bytes"),
        (
            largest.unwrap_or(0),
            limits.image_bytes,
            "limits.image_bytes",
        ),
    ] {
        if bytes > limit {
            let detail = format!("{name} allows {limit} bytes");
            return Err(ApiError::new(ErrorCode::BodyTooLarge, detail).about("input"));
        }
    }
    Ok(())
}

fn content(index: usize, part: Part) -> Result<Content, ApiError> {
    match part {
        Part::Text { text } => Ok(Content::Text(text)),
        Part::ImageUrl { image_url } => {
            let url = image_url.url;
            // The scheme is case-insensitive; the data after the comma is not touched.
            let is_data = url
                .get(..5)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
            if is_data {
                data_url(index, &url[5..]).map(Content::Picture)
            } else {
                Ok(Content::Url(url))
            }
        }
    }
}

/// The bytes of `MEDIATYPE;base64,DATA`.
fn data_url(index: usize, rest: &str) -> Result<Vec<u8>, ApiError> {
    let wrong = |why: &str| invalid(format!("input[{index}].image_url.url: {why}"));
    let (head, data) = rest
        .split_once(',')
        .ok_or_else(|| wrong("a data: URL has a comma before its data"))?;
    let encoding = head.rsplit(';').next().unwrap_or_default();
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(wrong("only base64 data: URLs are understood"));
    }
    let bytes = BASE64
        .decode(data.trim())
        .map_err(|e| wrong(&format!("the base64 is broken: {e}")))?;
    if bytes.is_empty() {
        return Err(wrong("the picture is empty"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn contents(input: Value) -> Result<Vec<Vec<Content>>, ApiError> {
        let request: ModerationRequest =
            serde_json::from_value(json!({"input": input, "model": "x", "user": "later"})).unwrap();
        request.contents(&crate::config::Settings::default().limits)
    }

    #[test]
    fn the_three_forms() {
        assert_eq!(contents(json!("a")).unwrap().len(), 1);
        assert_eq!(contents(json!(["a", "b"])).unwrap().len(), 2);
        let parts = json!([
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "DATA:image/png;base64,aGk", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ]);
        let parts = contents(parts).unwrap();
        assert_eq!(parts.len(), 1);
        assert!(matches!(&parts[0][1], Content::Picture(b) if b == b"hi"));
        assert!(matches!(&parts[0][2], Content::Url(u) if u.starts_with("https")));
    }

    #[test]
    fn what_is_refused_names_the_input() {
        let data = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}]);
        for (input, wanted) in [
            (json!([]), "empty"),
            (json!(""), "empty string"),
            (json!(["a", ""]), "empty string"),
            (data("data:image/png"), "comma"),
            (data("data:image/png,abc"), "base64"),
            (data("data:image/png;base64,%%%"), "base64 is broken"),
            (data("data:image/png;base64,"), "picture is empty"),
            (json!(vec!["a"; 257]), "limits.text_items"),
            (json!(vec![data("http://a/")[0].clone(); 9]), "9 pictures"),
            (json!("a".repeat(2 << 20)), "limits.text_bytes"),
        ] {
            let error = contents(input).unwrap_err();
            assert!(error.detail.contains(wanted), "{}", error.detail);
            assert_eq!(error.param.as_deref(), Some("input"));
        }
        let odd = serde_json::from_value::<ModerationRequest>(json!({"input": 5})).unwrap_err();
        assert!(odd.to_string().contains("list of strings"), "{odd}");
    }
}
