//! Bodies that may hold a secret in the clear: overwritten when they are not needed any more.
//!
//! What the connection's own buffers hold is not here.

use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroize as _;

/// The bytes of a body; overwritten when dropped, where nobody else has them.
pub(super) struct BriefBytes {
    pub(super) bytes: Bytes,
    pub(super) is_secret: bool,
}

impl Drop for BriefBytes {
    fn drop(&mut self) {
        if self.is_secret
            && let Ok(mut bytes) = std::mem::take(&mut self.bytes).try_into_mut()
        {
            bytes.as_mut().zeroize();
        }
    }
}

/// A body as JSON; its texts are overwritten when it is dropped.
pub(super) struct BriefJson {
    pub(super) value: Option<Value>,
    pub(super) is_secret: bool,
}

impl Drop for BriefJson {
    fn drop(&mut self) {
        if self.is_secret {
            self.value.iter_mut().for_each(wipe);
        }
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_of_a_body_is_overwritten_however_deep_it_is() {
        let mut value =
            json!({"plain": {"value": "s3cr3t", "values": {"x": "s3cr3t"}, "list": [["s3cr3t"], 7]}});
        wipe(&mut value);
        let left = value.to_string();
        assert!(!left.contains("s3cr3t") && left.contains("\"x\":\"\"") && left.contains('7'), "{left}");
    }
}
