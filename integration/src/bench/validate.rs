//! `validate`: how long it takes to hold a body of 2 KiB against a schema of 20 KiB, as a worker of a node does.
//!
//! The schema is like those of services: types that refer to each other, of which a body has about half, with texts
//! about them, patterns, enumerations and bounds. Bodies that are not as it says are measured too: they are gone over
//! a second time, for what is told about them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{bail, ensure};
use http::HeaderMap;
use rr_contract::model::validation::Validation;
use rr_contract::policy::validate::{Effort, Head, Look, Stopped, Validator};
use rr_contract::wire::fleet;
use serde_json::{Map, Value, json};

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How often a round holds each body against the schema.
    #[arg(long, default_value_t = 20_000)]
    times: usize,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.times > 0, "at least one body in one round");
    let (schema, body) = (schema().to_string(), body());
    let good = body.to_string();
    let bad = |pointer: &str, value: Value| {
        let mut body = body.clone();
        *body.pointer_mut(pointer).expect("the body has it") = value;
        body.to_string()
    };
    ensure!((20_000..21_500).contains(&schema.len()), "a schema of 20 KiB: {}", schema.len());
    ensure!((2_000..2_200).contains(&good.len()), "a body of 2 KiB: {}", good.len());
    let compile = || {
        let what = Some(fleet::validation::What::JsonSchema(schema.clone()));
        Validation::try_from(fleet::Validation { what, ..fleet::Validation::default() })
            .and_then(|validation| Validator::compile(&validation))
    };
    let validator = compile()?;
    let headers = HeaderMap::new();
    let head = Head { method: "POST", path: "/", query: None, headers: &headers, has_body: true };
    let Look::Body(wanted) = validator.look(head, Effort::AtOnce) else {
        bail!("the schema is about bodies")
    };
    let bodies = [
        ("passes", good, true),
        ("refused, at its start", bad("/buyer/id", json!("c")), false),
        ("refused, at its end", bad("/notes/1", json!(7)), false),
    ];
    for (name, body, passes) in &bodies {
        let outcome = validator.body(wanted, body.as_bytes(), Effort::AtOnce);
        let is_so = if *passes { outcome.is_ok() } else { matches!(outcome, Err(Stopped::Refused(_))) };
        ensure!(is_so, "a body that {name}: {outcome:?}");
    }
    let mut micros = vec![Vec::new(); bodies.len()];
    let mut compiled = Vec::new();
    for round in 0..=args.rounds {
        let since = Instant::now();
        black_box(compile()?);
        let compiling = since.elapsed().as_secs_f64() * 1e3;
        for step in 0..bodies.len() {
            let at = (step + round) % bodies.len();
            let since = Instant::now();
            for _ in 0..args.times {
                _ = black_box(validator.body(wanted, black_box(bodies[at].1.as_bytes()), Effort::AtOnce));
            }
            let took = since.elapsed().as_secs_f64() * 1e6 / args.times as f64;
            // The first round warms.
            if round > 0 {
                report.round(bodies[at].0, round, took, "us");
                micros[at].push(took);
            }
        }
        if round > 0 {
            report.round("compiled", round, compiling, "ms");
            compiled.push(compiling);
        }
    }
    let sizes = format!("a body of {} bytes, a schema of {}", bodies[0].1.len(), schema.len());
    for ((name, _, passes), micros) in bodies.iter().zip(&micros) {
        let note = if *passes { format!("{sizes}; asked for: at most 20") } else { sizes.clone() };
        report.metric("validate", name, micros, "us", &note);
    }
    report.metric("validate", "compiled", &compiled, "ms", "the schema, when configuration is applied");
    Ok(())
}

/// An object that has these and nothing else.
fn object(about: &str, required: &[&str], properties: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({
        "description": about,
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn many(name: &str, most: u32) -> Value {
    json!({ "type": "array", "minItems": 1, "maxItems": most, "items": of(name) })
}

fn text(about: &str, most: u32) -> Value {
    json!({ "description": about, "type": "string", "minLength": 1, "maxLength": most })
}

fn id(about: &str, prefix: &str) -> Value {
    json!({ "description": about, "type": "string", "pattern": format!("^{prefix}_[a-z0-9]{{8,32}}$") })
}

/// An order, and what belongs to it.
fn schema() -> Value {
    let time = json!({
        "description": "A point in time, in UTC, as RFC 3339 has it.",
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
    });
    let money = object(
        "An amount of money. Whole units of the least coin of the currency, so that nothing is rounded.",
        &["amount", "currency"],
        &[
            ("amount", json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000_000 })),
            ("currency", json!({ "enum": ["EUR", "USD", "GBP", "CHF", "PLN", "SEK", "DKK", "NOK", "JPY"] })),
        ],
    );
    let address = object(
        "Where something is sent to, or who pays for it.",
        &["name", "street", "city", "country"],
        &[
            ("name", text("Who lives or works there, as it stands on the bell.", 80)),
            ("street", text("Street and number of the house, in the order of the country.", 120)),
            ("postal_code", json!({ "type": "string", "pattern": "^[A-Z0-9][A-Z0-9 -]{2,9}$" })),
            ("city", text("The town or the village.", 80)),
            ("country", json!({ "description": "ISO 3166-1.", "type": "string", "pattern": "^[A-Z]{2}$" })),
        ],
    );
    let buyer = object(
        "Who orders. A buyer without an account has an id as well, which is used once.",
        &["id", "email"],
        &[
            ("id", id("Which buyer.", "cus")),
            ("email", json!({ "type": "string", "maxLength": 254, "pattern": "^[^@ ]+@[^@ ]+$" })),
            ("phone", json!({ "type": "string", "pattern": "^\\+[0-9]{8,15}$" })),
            ("language", json!({ "type": "string", "pattern": "^[a-z]{2}(-[A-Z]{2})?$" })),
            ("address", of("address")),
            ("since", of("time")),
        ],
    );
    let line = object(
        "A line of an order: something that is sold, how often, and at which price.",
        &["sku", "quantity", "price"],
        &[
            ("sku", json!({ "type": "string", "pattern": "^[A-Z]{3}-[0-9]{4,8}$" })),
            ("title", text("What the buyer sees.", 200)),
            ("quantity", json!({ "type": "integer", "minimum": 1, "maximum": 999 })),
            ("price", of("money")),
            ("tax_percent", json!({ "type": "number", "minimum": 0, "maximum": 100 })),
            ("gift", json!({ "type": "boolean" })),
        ],
    );
    let payment = json!({
        "description": "How it is paid: one of the ways, with what belongs to it.",
        "oneOf": [
            object("By card.", &["kind", "token"], &[
                ("kind", json!({ "const": "card" })),
                ("token", id("What the provider of payments gave for the card.", "tok")),
                ("network", json!({ "enum": ["visa", "mastercard", "amex", "diners", "jcb"] })),
            ]),
            object("By transfer.", &["kind", "reference"], &[
                ("kind", json!({ "const": "transfer" })),
                ("reference", text("What stands on the transfer.", 35)),
            ]),
            object("Later, against an invoice.", &["kind", "days"], &[
                ("kind", json!({ "const": "invoice" })),
                ("days", json!({ "type": "integer", "enum": [14, 30, 60] })),
            ]),
        ],
    });
    let shipment = object(
        "How it gets there. What is not said is chosen by the warehouse.",
        &["carrier", "address"],
        &[
            ("carrier", json!({ "enum": ["post", "parcel", "courier", "freight", "pickup"] })),
            ("address", of("address")),
            ("earliest", of("time")),
            ("instructions", text("What the carrier has to know.", 400)),
            ("insured", json!({ "anyOf": [of("money"), { "type": "null" }] })),
        ],
    );
    let mut defs = Map::new();
    for (name, schema) in [
        ("time", time),
        ("money", money),
        ("address", address),
        ("buyer", buyer),
        ("line", line),
        ("payment", payment),
        ("shipment", shipment),
    ] {
        defs.insert(name.to_owned(), schema);
    }
    let mut properties = vec![
        ("id", id("Which order. Chosen by whoever orders, so that it can be sent twice.", "ord")),
        ("placed", of("time")),
        ("buyer", of("buyer")),
        ("lines", many("line", 100)),
        ("payment", of("payment")),
        ("shipment", of("shipment")),
        ("total", of("money")),
        ("channel", json!({ "enum": ["web", "app", "phone", "shop", "partner"] })),
        (
            "notes",
            json!({ "type": "array", "maxItems": 20, "items": { "type": "string", "maxLength": 500 } }),
        ),
        (
            "labels",
            json!({ "type": "object", "propertyNames": { "pattern": "^[a-z][a-z0-9_]{0,30}$" }, "additionalProperties": { "type": "string", "maxLength": 100 } }),
        ),
    ];
    // What an order can have, and this one has not.
    for name in [
        "refund",
        "return",
        "dispute",
        "invoice",
        "discount",
        "voucher",
        "subscription",
        "warranty",
        "customs",
        "warehouse",
        "pickup",
        "contract",
        "approval",
        "deposit",
        "receipt",
        "promise",
        "survey",
        "escalation",
        "exchange",
    ] {
        let about =
            format!("The {name} of an order, where it has one: made by a clerk or by a rule of the shop.");
        let one = object(
            &about,
            &["id", "state", "made"],
            &[
                ("id", id(&format!("Which {name}."), &name[..3])),
                ("state", json!({ "enum": ["new", "checked", "accepted", "declined", "closed"] })),
                ("made", of("time")),
                ("by", of("buyer")),
                ("amount", of("money")),
                ("reason", text("Why, in the words of whoever asked for it.", 500)),
                ("lines", many("line", 100)),
                ("priority", json!({ "type": "integer", "minimum": 0, "maximum": 9 })),
                (
                    "codes",
                    json!({ "type": "array", "uniqueItems": true, "items": { "type": "string", "pattern": "^[A-Z]{2,4}[0-9]{2}$" } }),
                ),
            ],
        );
        defs.insert(name.to_owned(), one);
        properties.push((name, of(name)));
    }
    let required = ["id", "buyer", "lines", "payment", "total"];
    let mut root = object("An order, as the shop takes it from its channels.", &required, &properties);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$defs"] = Value::Object(defs);
    root
}

/// One that is as the schema says.
fn body() -> Value {
    let money = |amount: u32| json!({ "amount": amount, "currency": "EUR" });
    let address = json!({
        "name": "Ann Example", "street": "Unter den Linden 77", "postal_code": "10117", "city": "Berlin",
        "country": "DE",
    });
    let line = |n: u32, title: &str| {
        json!({
            "sku": format!("BKS-{:05}", 1000 + n), "title": title, "quantity": 1 + n % 3,
            "price": money(1290 + 100 * n), "tax_percent": 7.5, "gift": n == 2,
        })
    };
    json!({
        "id": "ord_4f92bq71lmtw83xz",
        "placed": "2026-11-29T10:20:30Z",
        "buyer": {
            "id": "cus_83kd92ls74hf", "email": "ann@example.com", "phone": "+49301234567",
            "language": "de-DE", "address": address, "since": "2019-03-01T00:00:00Z",
        },
        "lines": [
            line(1, "The history of paper in seven chapters"),
            line(2, "A map of the harbour, folded"),
            line(3, "Letters to nobody in particular"),
            line(4, "On the repair of clocks, second edition"),
            line(5, "An index of rivers"),
            line(6, "The garden in the month of November"),
            line(7, "Four plays for two voices"),
        ],
        "payment": { "kind": "card", "token": "tok_9dk38fj2ls8d", "network": "visa" },
        "shipment": {
            "carrier": "parcel", "address": address, "earliest": "2026-12-01T08:00:00Z",
            "instructions": "Ring twice; the door on the left leads to the yard, where the lift is: second floor.",
            "insured": money(20_000),
        },
        "total": money(18_930),
        "channel": "web",
        "labels": { "campaign": "autumn", "cart": "c7", "experiment": "b" },
        "notes": ["Please wrap the second one.", "No plastic, if you can; and leave the invoice out of the parcel, because it is a present for somebody who lives at that address."],
    })
}
