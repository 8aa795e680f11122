//! JSON out. Written by hand because paths are bytes: what is not UTF-8 comes out as Python's surrogateescape has it
//! (`\udc80` to `\udcff`, one for each byte), so that `json.loads` gives exactly the `str` that the Python API takes.

use pyi_engine::Value;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Text as bytes, UTF-8 or not.
    Text(Vec<u8>),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// An object from its pairs.
pub(crate) fn object<const N: usize>(pairs: [(&str, Json); N]) -> Json {
    Json::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::Text(text.as_bytes().to_vec())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Json::Text(text.into_bytes())
    }
}

impl From<&[u8]> for Json {
    fn from(text: &[u8]) -> Self {
        Json::Text(text.to_vec())
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Json::Int(number.into())
    }
}

impl From<bool> for Json {
    fn from(truth: bool) -> Self {
        Json::Bool(truth)
    }
}

impl From<&pyi_engine::Id> for Json {
    fn from(id: &pyi_engine::Id) -> Self {
        Json::from(id.to_string())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Json::Null, Into::into)
    }
}

impl FromIterator<Json> for Json {
    fn from_iter<I: IntoIterator<Item = Json>>(items: I) -> Self {
        Json::Array(items.into_iter().collect())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Int(number) => Json::Int(*number),
            // More digits than a reader of JSON could keep: as text.
            Value::Big(negative, digits) => {
                let hex: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
                Json::from(format!("{}0x{hex}", if *negative { "-1-" } else { "" }))
            }
            Value::Float(number) => Json::Float(*number),
            Value::Bytes(bytes) => Json::from(bytes.as_slice()),
            Value::Text(text) => Json::from(text.as_str()),
            Value::Array(items) => items.iter().map(Json::from).collect(),
            Value::Map(pairs) => Json::Object(
                pairs
                    .iter()
                    .map(|(key, value)| (key.clone(), Json::from(value)))
                    .collect(),
            ),
        }
    }
}

impl Json {
    /// Adds a pair to an object.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        if let Json::Object(pairs) = &mut self {
            pairs.push((key.to_owned(), value.into()));
        }
        self
    }

    /// The document: objects and arrays of objects over several lines.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, 0);
        out.push(b'\n');
        out
    }

    fn write(&self, out: &mut Vec<u8>, depth: usize) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Json::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Json::Float(number) if number.is_finite() => out.extend_from_slice(format!("{number:?}").as_bytes()),
            Json::Float(_) => out.extend_from_slice(b"null"),
            Json::Text(text) => write_text(out, text),
            Json::Array(items) => {
                let flat = !items
                    .iter()
                    .any(|item| matches!(item, Json::Array(_) | Json::Object(_)));
                write_items(out, depth, *b"[]", flat, items.iter(), |out, item, depth| {
                    item.write(out, depth)
                });
            }
            Json::Object(pairs) => {
                write_items(
                    out,
                    depth,
                    *b"{}",
                    pairs.is_empty(),
                    pairs.iter(),
                    |out, (key, value), depth| {
                        write_text(out, key.as_bytes());
                        out.extend_from_slice(b": ");
                        value.write(out, depth);
                    },
                );
            }
        }
    }
}

fn write_items<T>(
    out: &mut Vec<u8>,
    depth: usize,
    brackets: [u8; 2],
    flat: bool,
    items: impl Iterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T, usize),
) {
    let indent = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    out.push(brackets[0]);
    for (index, item) in items.enumerate() {
        match (index, flat) {
            (0, true) => {}
            (_, true) => out.extend_from_slice(b", "),
            (0, false) => indent(out, depth + 1),
            (_, false) => {
                out.push(b',');
                indent(out, depth + 1);
            }
        }
        write(out, item, depth + 1);
    }
    if !flat {
        indent(out, depth);
    }
    out.push(brackets[1]);
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                control if control < ' ' || control == '\u{7f}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\udc{byte:02x}").as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &Json) -> String {
        String::from_utf8(json.render()).unwrap()
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_as_surrogates() {
        assert_eq!(
            line(&Json::from(&b"a\xff\"\n\x01\xc3\xa4"[..])),
            "\"a\\udcff\\\"\\n\\u0001ä\"\n"
        );
    }

    #[test]
    fn nested_values_are_indented() {
        let json = object([
            ("a", Json::Null),
            ("b", [Json::from(1), Json::from(true)].into_iter().collect()),
        ]);
        assert_eq!(line(&json), "{\n  \"a\": null,\n  \"b\": [1, true]\n}\n");
        assert_eq!(
            line(&Json::Array(vec![json])),
            "[\n  {\n    \"a\": null,\n    \"b\": [1, true]\n  }\n]\n"
        );
        assert_eq!(line(&Json::Array(Vec::new())), "[]\n");
        assert_eq!(line(&object([])), "{}\n");
        assert_eq!(line(&Json::Float(1.0)), "1.0\n");
        assert_eq!(line(&Json::Float(f64::NAN)), "null\n");
    }
}
