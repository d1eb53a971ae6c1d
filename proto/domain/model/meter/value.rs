//! The numbers of a meter on the wire: one at one place in short, several as a list.

use rr_wire::fleet;
use rr_wire::fleet::meter_value::Location;

use super::super::header;
use super::super::invalid::Violations;
use super::super::json_path::JsonPath;
use super::{Fold, Place, READINGS_MAX, Reading, Value};

impl Fold {
    /// Where none is said: models count on from part to part, and a header that is there twice says two things.
    fn of(place: &Place) -> Self {
        match place {
            Place::Body(_) => Self::Last,
            Place::Header(_) => Self::Sum,
        }
    }

    const fn to_wire(self) -> fleet::MeterFold {
        match self {
            Self::Last => fleet::MeterFold::Last,
            Self::Max => fleet::MeterFold::Max,
            Self::Sum => fleet::MeterFold::Sum,
        }
    }
}

impl Reading {
    /// At one place, and folded as is usual there.
    fn short(&self) -> Option<Location> {
        match &self.place {
            _ if self.fold != Fold::of(&self.place) => None,
            Place::Body(paths) => match &**paths {
                [path] => Some(Location::BodyPath(path.to_string())),
                _ => None,
            },
            Place::Header(name) => Some(Location::Header(name.as_str().to_owned())),
        }
    }

    fn to_wire(&self) -> fleet::MeterReading {
        let (body_paths, header) = match &self.place {
            Place::Body(paths) => (paths.iter().map(JsonPath::to_string).collect(), String::new()),
            Place::Header(name) => (Vec::new(), name.as_str().to_owned()),
        };
        fleet::MeterReading { body_paths, header, fold: self.fold.to_wire().into() }
    }
}

impl Value {
    pub(super) fn to_wire(&self) -> fleet::MeterValue {
        let location = match &*self.readings {
            [reading] => reading.short(),
            _ => None,
        };
        let readings = match location {
            Some(_) => Vec::new(),
            None => self.readings.iter().map(Reading::to_wire).collect(),
        };
        fleet::MeterValue { location, reserve: self.reserve, on_missing: self.on_missing, readings }
    }
}

pub(super) fn parse(faults: &mut Violations, wire: fleet::MeterValue) -> Option<Value> {
    let fleet::MeterValue { location, reserve, on_missing, readings } = wire;
    if location.is_some() && !readings.is_empty() {
        faults.add(
            "value.readings",
            "is a list, beside one place: give all places as readings, or the one alone",
        );
        return None;
    }
    if readings.len() > READINGS_MAX {
        faults.add("value.readings", format!("has at most {READINGS_MAX}"));
        return None;
    }
    let readings: Option<Vec<Reading>> = match location {
        Some(Location::BodyPath(path)) => {
            let path = faults.take("value.body_path", path.parse());
            path.map(|path| vec![usual(Place::Body(vec![path]))])
        }
        Some(Location::Header(name)) => {
            let name = faults.take("value.header", header::parse(&name));
            name.map(|name| vec![usual(Place::Header(name))])
        }
        None if readings.is_empty() => {
            faults.add("value.location", "is neither a path nor a header, and there are no readings");
            None
        }
        // All of them are looked at, for their faults.
        None => {
            let parsed = readings.iter().enumerate().map(|(i, reading)| parse_reading(faults, i, reading));
            parsed.collect::<Vec<_>>().into_iter().collect()
        }
    };
    Some(Value { readings: readings?, reserve, on_missing })
}

fn usual(place: Place) -> Reading {
    Reading { fold: Fold::of(&place), place }
}

fn parse_reading(faults: &mut Violations, i: usize, wire: &fleet::MeterReading) -> Option<Reading> {
    let field = format!("value.readings[{i}]");
    let place = match (&*wire.body_paths, &*wire.header) {
        ([], "") => {
            faults.add(field.clone(), "has neither a path nor a header");
            None
        }
        ([], name) => faults.take(format!("{field}.header"), header::parse(name)).map(Place::Header),
        (_, name) if !name.is_empty() => {
            faults.add(field.clone(), "has paths and a header: make two readings of it");
            None
        }
        (paths, _) if paths.len() > READINGS_MAX => {
            faults.add(format!("{field}.body_paths"), format!("has at most {READINGS_MAX}"));
            None
        }
        (paths, _) => parse_paths(faults, &field, paths).map(Place::Body),
    };
    let fold = match fleet::MeterFold::try_from(wire.fold) {
        Ok(fleet::MeterFold::Unspecified) => place.as_ref().map(Fold::of),
        Ok(fleet::MeterFold::Last) => Some(Fold::Last),
        Ok(fleet::MeterFold::Max) => Some(Fold::Max),
        Ok(fleet::MeterFold::Sum) => Some(Fold::Sum),
        Err(_) => {
            faults.add(format!("{field}.fold"), "is neither last nor max nor sum");
            None
        }
    };
    Some(Reading { place: place?, fold: fold? })
}

fn parse_paths(faults: &mut Violations, field: &str, wire: &[String]) -> Option<Vec<JsonPath>> {
    let mut paths = Vec::with_capacity(wire.len());
    for (i, text) in wire.iter().enumerate() {
        let path = faults.take(format!("{field}.body_paths[{i}]"), text.parse::<JsonPath>())?;
        if paths.contains(&path) {
            faults.add(format!("{field}.body_paths[{i}]"), "is there twice");
            return None;
        }
        paths.push(path);
    }
    Some(paths)
}
