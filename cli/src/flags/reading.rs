//! Numbers that a meter adds up, as they are typed: places, and what several of them come to.
//!
//! Knows where model APIs say how many tokens a request took. Checks no path: the control plane does.

use clap::ValueEnum;
use rr_contract::wire::fleet::{MeterFold, MeterReading};

/// Where an API of models says how many tokens a request took, in answers and in streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tokens {
    /// Chat completions, responses and embeddings of OpenAI, and what answers like them.
    Openai,
    /// Messages of Anthropic, also behind Amazon Bedrock.
    Anthropic,
    /// Gemini.
    Gemini,
    /// The Converse API of Amazon Bedrock.
    Bedrock,
}

impl Tokens {
    pub(crate) fn readings(self) -> Vec<MeterReading> {
        let places: &[&[&str]] = match self {
            Self::Openai => &[&["usage.total_tokens", "response.usage.total_tokens"]],
            Self::Anthropic => &[
                &["usage.input_tokens", "message.usage.input_tokens"],
                &["usage.cache_creation_input_tokens", "message.usage.cache_creation_input_tokens"],
                &["usage.cache_read_input_tokens", "message.usage.cache_read_input_tokens"],
                &["usage.output_tokens", "message.usage.output_tokens"],
            ],
            Self::Gemini => &[&["usageMetadata.totalTokenCount"]],
            Self::Bedrock => &[&["usage.totalTokens"]],
        };
        let reading = |places: &&[&str]| MeterReading {
            body_paths: places.iter().map(|place| (*place).to_owned()).collect(),
            ..MeterReading::default()
        };
        places.iter().map(reading).collect()
    }
}

/// Reads `PATH[,PATH…][=FOLD]`.
pub(crate) fn of_path(text: &str) -> Result<MeterReading, String> {
    let (places, fold) = folded(text)?;
    let body_paths = split(places);
    if body_paths.iter().any(String::is_empty) {
        return Err("a path is empty: give it as usage.total_tokens, and several with commas".to_owned());
    }
    Ok(MeterReading { body_paths, header: String::new(), fold: fold.into() })
}

/// Reads `HEADER[=FOLD]`.
pub(crate) fn of_header(text: &str) -> Result<MeterReading, String> {
    let (name, fold) = folded(text)?;
    Ok(MeterReading { body_paths: Vec::new(), header: name.to_lowercase(), fold: fold.into() })
}

fn folded(text: &str) -> Result<(&str, MeterFold), String> {
    let Some((places, fold)) = text.rsplit_once('=').filter(|(_, fold)| !fold.contains(['"', ']'])) else {
        return Ok((text, MeterFold::Unspecified));
    };
    match fold {
        "last" => Ok((places, MeterFold::Last)),
        "max" => Ok((places, MeterFold::Max)),
        "sum" => Ok((places, MeterFold::Sum)),
        other => Err(format!("{other:?} is none of last, max and sum")),
    }
}

/// At commas that stand between no brackets.
fn split(places: &str) -> Vec<String> {
    let mut within = false;
    let parts = places.split(|sign| {
        within = match sign {
            '[' => true,
            ']' => false,
            _ => within,
        };
        sign == ',' && !within
    });
    parts.map(str::to_owned).collect()
}

/// A reading as it is shown.
pub(crate) fn text(reading: &MeterReading) -> String {
    let fold = match reading.fold() {
        MeterFold::Unspecified => "",
        MeterFold::Last => " (last)",
        MeterFold::Max => " (max)",
        MeterFold::Sum => " (sum)",
    };
    if reading.header.is_empty() {
        format!("body {}{fold}", reading.body_paths.join(" or "))
    } else {
        format!("header {}{fold}", reading.header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_with_its_fold_and_its_other_places() {
        for (typed, shown) in [
            ("usage.total_tokens", "body usage.total_tokens"),
            ("a.n,b.n=max", "body a.n or b.n (max)"),
            (r#"a["b,c=d"].n,e"#, r#"body a["b,c=d"].n or e"#),
            ("a=sum", "body a (sum)"),
        ] {
            assert_eq!(of_path(typed).map(|reading| text(&reading)).as_deref(), Ok(shown), "{typed}");
        }
        assert_eq!(of_header("X-Tokens=last").map(|it| text(&it)).as_deref(), Ok("header x-tokens (last)"));
        assert_eq!(of_path("a=mean"), Err(r#""mean" is none of last, max and sum"#.to_owned()));
        assert!(of_path("a,,b").is_err() && of_path("").is_err());
    }
}
