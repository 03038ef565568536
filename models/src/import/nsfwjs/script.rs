//! Finds the value that a minified JavaScript module exports, without running it.
//!
//! The modules are bundles around one literal: `….exports={modelTopology:…}` or
//! `….exports="BASE64"`. Every `.exports=` is tried; the first literal that parses is the one
//! (the wrapper's own assignments are calls or names, which are not literals).

use serde_json::{Map, Number, Value};

/// Nesting deeper than this is refused; the real files have about a dozen levels.
const MAX_DEPTH: u32 = 64;

/// The exported literal of the module text, as JSON.
pub fn exported(script: &str) -> Result<Value, &'static str> {
    const MARK: &str = ".exports=";
    let mut error = "nothing is exported";
    let mut rest = script;
    while let Some(at) = rest.find(MARK) {
        rest = &rest[at + MARK.len()..];
        let mut parser = Parser {
            bytes: rest.as_bytes(),
            at: 0,
        };
        match parser.value(0) {
            Ok(value @ (Value::Object(_) | Value::String(_))) => return Ok(value),
            Ok(_) => error = "an export is neither an object nor a string",
            Err(message) => error = message,
        }
    }
    Err(error)
}

/// Parser for the literals that a minifier writes: `!0`, `!1`, `.5`, bare keys, `void 0`.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, token: u8) -> bool {
        let hit = self.peek() == Some(token);
        self.at += usize::from(hit);
        hit
    }

    fn word(&mut self, word: &str) -> bool {
        let hit = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += if hit { word.len() } else { 0 };
        hit
    }

    fn value(&mut self, depth: u32) -> Result<Value, &'static str> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply");
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Value::String),
            Some(b'-' | b'.' | b'0'..=b'9') => self.number(),
            Some(b'!') if self.word("!0") => Ok(Value::Bool(true)),
            Some(b'!') if self.word("!1") => Ok(Value::Bool(false)),
            Some(b't') if self.word("true") => Ok(Value::Bool(true)),
            Some(b'f') if self.word("false") => Ok(Value::Bool(false)),
            Some(b'n') if self.word("null") => Ok(Value::Null),
            Some(b'v') if self.word("void 0") => Ok(Value::Null),
            _ => Err("not a literal"),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, &'static str> {
        self.at += 1;
        let mut map = Map::new();
        while !self.eat(b'}') {
            let key = match self.peek() {
                Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
                _ => self.identifier()?,
            };
            if !self.eat(b':') {
                return Err("no colon after a key");
            }
            map.insert(key, self.value(depth + 1)?);
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return Err("object not closed");
            }
        }
        Ok(Value::Object(map))
    }

    fn array(&mut self, depth: u32) -> Result<Value, &'static str> {
        self.at += 1;
        let mut list = Vec::new();
        while !self.eat(b']') {
            list.push(self.value(depth + 1)?);
            if !self.eat(b',') && self.peek() != Some(b']') {
                return Err("array not closed");
            }
        }
        Ok(Value::Array(list))
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &[u8] {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|b| belongs(*b)) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    fn identifier(&mut self) -> Result<String, &'static str> {
        let name = self.run(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$');
        if name.is_empty() {
            return Err("not a key");
        }
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    fn number(&mut self) -> Result<Value, &'static str> {
        let text =
            self.run(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        let text = std::str::from_utf8(text).map_err(|_| "not a number")?;
        if let Ok(integer) = text.parse::<i64>() {
            return Ok(Value::Number(integer.into()));
        }
        let float = text.parse::<f64>().map_err(|_| "not a number")?;
        Number::from_f64(float)
            .map(Value::Number)
            .ok_or("not a finite number")
    }

    fn string(&mut self, quote: u8) -> Result<String, &'static str> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let plain = self.run(|b| b != quote && b != b'\\' && b != b'\n');
            text.extend_from_slice(plain);
            match self.bytes.get(self.at) {
                Some(b'\\') => {
                    let escaped = match self.bytes.get(self.at + 1) {
                        Some(b'n') => b'\n',
                        Some(b't') => b'\t',
                        Some(b'r') => b'\r',
                        Some(c @ (b'"' | b'\'' | b'\\' | b'/')) => *c,
                        _ => return Err("unknown escape"),
                    };
                    text.push(escaped);
                    self.at += 2;
                }
                Some(c) if *c == quote => {
                    self.at += 1;
                    return String::from_utf8(text).map_err(|_| "not UTF-8");
                }
                _ => return Err("string not closed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn literal_is_found_behind_the_wrapper() {
        let script = "!function(e){module.exports=e();n[_]={exports:{}}}({1:[function(e,a,n){\
            a.exports={keras:\"2.2\",'q q':[.5,-1.5e-3,7,],ok:!0,no:!1,nil:null,u:void 0,e:{}}},{}]})";
        let expected = json!({
            "keras": "2.2", "q q": [0.5, -0.0015, 7], "ok": true, "no": false, "nil": null,
            "u": null, "e": {}
        });
        assert_eq!(exported(script).expect("parses"), expected);
        assert_eq!(
            exported("x.exports=\"QUJD\"}").expect("parses"),
            json!("QUJD")
        );
    }

    #[test]
    fn what_is_not_a_literal_is_refused() {
        let deep = "[".repeat(1_000_000);
        for script in [
            "",
            "a.exports=f()",
            "a.exports={a:b}",
            "a.exports={a:1",
            "a.exports=\"x",
        ] {
            assert!(exported(script).is_err(), "{script}");
        }
        assert_eq!(
            exported(&format!("a.exports={deep}")),
            Err("nested too deeply")
        );
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "\\PC{0,80}") {
            let _ = exported(&format!("a.exports={text}"));
        }

        #[test]
        fn json_is_a_literal(
            list in prop::collection::vec((any::<i64>(), any::<bool>(), "[a-z ]{0,9}"), 0..9)
        ) {
            let value = json!({ "list": list });
            // Bools are words here and `!0` in minified text; both must read.
            let text = format!("a.exports={value}");
            prop_assert_eq!(exported(&text).expect("parses"), value.clone());
            let minified = text.replace("true", "!0").replace("false", "!1");
            prop_assert_eq!(exported(&minified).expect("parses"), value);
        }
    }
}
