//! Addresses of mail, keys, tokens and random texts, and what looks like them.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rr_domain::model::detector::Detector;

use super::{Dice, Kind};

pub(super) fn kinds() -> Vec<Kind> {
    vec![Kind { detector: Detector::Email, usual: mail, rare: rare_mail, alike: no_mail }]
}

pub(super) fn secrets() -> Vec<Kind> {
    vec![
        Kind { detector: Detector::Key, usual: key, rare: rare_key, alike: no_key },
        Kind { detector: Detector::Jwt, usual: token, rare: rare_token, alike: no_token },
        Kind { detector: Detector::Pem, usual: pem, rare: rare_pem, alike: no_pem },
        Kind { detector: Detector::Random, usual: random, rare: rare_random, alike: no_random },
    ]
}

const HOSTS: [&str; 8] = [
    "example.com",
    "mail.example.co.uk",
    "shop-4.example.de",
    "m\u{fc}ller.example",
    "EXAMPLE.COM",
    "xn--mller-kva.example",
    "a.io",
    "students.uni-7.example.ac.jp",
];

fn mail(dice: &mut Dice) -> String {
    let local = dice.draw(&[
        "ann.smith",
        "a.~{7}",
        "~{6}##",
        "o'neill",
        "j\u{f6}rg.m\u{fc}ller",
        "~{5}+shop",
        "~{4}_~{5}",
        "Ann-Marie",
        "!#{5}",
        "~",
        "%~{4}",
    ]);
    format!("{local}@{}", dice.one(&HOSTS))
}

fn rare_mail(dice: &mut Dice) -> String {
    let (local, host) =
        (dice.draw(&["ann.smith", "~{6}##"]), dice.one(&["example.com", "mail.example.co.uk"]));
    match dice.below(6) {
        0 => format!("\"{local} x\"@{host}"),
        1 => format!("{local} (at) {host}"),
        2 => format!("{local} [at] {}", host.replace('.', " [dot] ")),
        3 => format!("{local}@localhost"),
        4 => format!("{local}@[192.0.2.7]"),
        _ => format!("{local} @ {host}"),
    }
}

fn no_mail(dice: &mut Dice) -> String {
    dice.draw(&[
        "@~{7}",
        "~{6}@#.#.#",
        "~{6}@!#.!#.!#",
        "actions/checkout@v4",
        "root@10.0.#.1##",
        "root@~{5}",
        "~{5}@2x.png",
        "git@github.com:~{5}/~{6}.git",
        "@app.route('/~{4}')",
        "~{5}@sha256:&{12}",
        "a @ b",
        "~{3}@!.#",
        "x = m@n",
        "https://~{5}:~{8}@db.example.com:5432/~{4}",
        "user@~{4}-##",
        "@media (min-width: ###px)",
    ])
}

fn key(dice: &mut Dice) -> String {
    dice.draw(&[
        "AKIA?{16}",
        "ASIA?{16}",
        "ghp_*{36}",
        "gho_*{36}",
        "github_pat_*{22}_*{59}",
        "glpat-*{20}",
        "sk_live_*{24}",
        "sk_test_*{24}",
        "rk_live_*{24}",
        "xoxb-!#{11}-!#{11}-*{24}",
        "xapp-1-?{11}-!#{12}-&{64}",
        "AIza*{35}",
        "SG.*{22}.*{43}",
        "hf_~{10}*{24}#",
        "npm_*{36}",
        "sk-proj-*{48}",
        "sk-ant-api03-*{93}AA",
        "dop_v1_&{64}",
        "shpat_&{32}",
        "hvs.*{24}",
        "ya29.*{60}",
        "pypi-AgEIcHlwaS5vcmc*{40}",
        "whsec_*{32}",
        "tskey-auth-*{17}-*{32}",
        "dckr_pat_*{27}",
        "sq0atp-*{22}",
        "lin_api_*{40}",
        "gsk_*{52}",
        "AGE-SECRET-KEY-1?{58}",
        "vercel_*{24}",
        "ntn_*{46}",
        "pat-na1-&{8}-&{4}-&{4}-&{4}-&{12}",
    ])
}

fn rare_key(dice: &mut Dice) -> String {
    dice.draw(&[
        "SK&{32}",
        "key-&{32}",
        "!#{8}:AA*{33}",
        "dapi&{32}",
        "glsa_*{32}_&{8}",
        "PMAK-&{24}-&{34}",
        "NRAK-?{27}",
        "sntrys_*{40}",
        "ATATT3*{60}",
        "doo_v1_&{64}",
        "xoxr-!#{11}-*{24}",
        "rubygems_&{48}",
        "r8_*{37}",
        "nvapi-*{64}",
        "EAAA*{60}",
        "xai-*{80}",
        "pplx-*{48}",
        "sbp_&{40}",
    ])
}

fn no_key(dice: &mut Dice) -> String {
    dice.draw(&[
        "sk-~{6}-~{5}",
        "hf_~{8}_~{9}_~{6}",
        "ghp_",
        "AKIA",
        "task-~{6}-!##",
        "npm_config_registry",
        "npm_lifecycle_event",
        "hvs.~{6}",
        "sk-SK",
        "pypi-server",
        "risk-~{5}-!###",
        "disk-~{5}",
        "vercel_~{3}",
        "SG.pdf",
        "ya29.txt",
        "AIzawa",
        "xoxo-~{5}",
        "whsec",
        "mask-~{8}",
        "desk-*{4}",
        "rk_~{4}_~{4}",
        "dop_v1",
        "sk_SK.UTF-8",
        "ntn_~{4}",
        "sk-learn-~{6}-~{4}",
        "vercel_~{8}_~{4}",
        "gsk_~{5}_~{5}_~{6}",
        "phc_~{4}",
    ])
}

/// As long as a signature or a claim is.
fn bytes(dice: &mut Dice, length: usize) -> Vec<u8> {
    (0..length).map(|_| dice.roll() as u8).collect()
}

fn head(dice: &mut Dice) -> String {
    let head = dice.draw(&[
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"&{8}"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"kid":"k-##","alg":"EdDSA"}"#,
    ]);
    // The alphabet of patterns has braces of its own.
    BASE64URL_NOPAD.encode(head.as_bytes())
}

fn claims(dice: &mut Dice) -> String {
    let (subject, at) = (dice.below(100_000), 1_700_000_000 + dice.below(100_000_000));
    BASE64URL_NOPAD.encode(format!("{{\"sub\":\"u-{subject}\",\"exp\":{at}}}").as_bytes())
}

fn token(dice: &mut Dice) -> String {
    let (head, claims) = (head(dice), claims(dice));
    let part = |dice: &mut Dice, length| BASE64URL_NOPAD.encode(&bytes(dice, length));
    match dice.below(4) {
        0 => {
            // Encrypted.
            let [key, iv, text, tag] = [256, 12, 80, 16].map(|length| part(dice, length));
            format!("{head}.{key}.{iv}.{text}.{tag}")
        }
        1 => format!("Bearer {head}.{claims}.{}", part(dice, 256)).replacen("Bearer ", "", 1),
        _ => format!("{head}.{claims}.{}", part(dice, 32)),
    }
}

fn rare_token(dice: &mut Dice) -> String {
    let (head, claims, signature) = (head(dice), claims(dice), BASE64URL_NOPAD.encode(&bytes(dice, 32)));
    match dice.below(4) {
        // Whose payload is elsewhere.
        0 => format!("{head}..{signature}"),
        // Whose head has a space in front.
        1 => format!("{}.{claims}.{signature}", BASE64URL_NOPAD.encode(br#" {"alg":"HS256"}"#)),
        // Broken over two lines, as mail does.
        2 => format!("{head}.{}\n{}.{signature}", &claims[..20], &claims[20..]),
        // Whose signature was left out.
        _ => format!("{head}.{claims}."),
    }
}

fn no_token(dice: &mut Dice) -> String {
    let claims = claims(dice);
    match dice.below(5) {
        0 => claims,
        1 => format!("{claims}=="),
        2 => dice.draw(&["eyJ", "eye.~{4}.~{5}", "eyJ.~{5}", "eyjafjallajokull.is", "keyJ~{6}.~{6}"]),
        3 => dice.draw(&["~{8}.~{9}.~{5}", "com.example.~{6}.~{7}", "**{8}.js"]),
        _ => BASE64.encode(&bytes(dice, 60)).replace("eyJ", "eyK"),
    }
}

fn pem(dice: &mut Dice) -> String {
    let label =
        dice.one(&["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "CERTIFICATE"]);
    let body = BASE64.encode(&bytes(dice, 150));
    let line = dice.one(&["\n", "\\n", "\r\n"]);
    let mut text = format!("-----BEGIN {label}-----{line}");
    for start in (0..body.len()).step_by(64) {
        text.push_str(&body[start..body.len().min(start + 64)]);
        text.push_str(line);
    }
    format!("{text}-----END {label}-----")
}

fn rare_pem(dice: &mut Dice) -> String {
    let body = BASE64.encode(&bytes(dice, 150));
    match dice.below(3) {
        // In base64 without a head.
        0 => format!("MIGH{body}"),
        // Of which the end is lost.
        1 => format!("-----BEGIN PRIVATE KEY-----\n{body}"),
        // Each line of it behind a sign.
        _ => format!(
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{body}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----"
        ),
    }
}

fn no_pem(dice: &mut Dice) -> String {
    dice.draw(&[
        "-----",
        "----- Original Message -----",
        "--- BEGIN ~{5} ---",
        "---------- ~{5} ----------",
        "| --- | --- |",
        "BEGIN; COMMIT;",
        "-- BEGIN ~{5}",
        "===== BEGIN =====",
        "----BEGIN ~{5}----",
        "-----begin private key-----",
        "-----BEGIN PGP SIGNED MESSAGE-----",
        "----------- BEGINNING",
    ])
}

fn random(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => BASE64URL_NOPAD.encode(&bytes(dice, 32)),
        1 => {
            let length = 12 + dice.below(20);
            BASE64.encode(&bytes(dice, 3 * length))
        }
        _ => dice.draw(&["*{24}", "*{32}", "*{40}", "*{64}", "&{32}", "&{48}", "&{64}", "?{40}"]),
    }
}

fn rare_random(dice: &mut Dice) -> String {
    dice.draw(&[
        "*{10}",
        "*{12}",
        "*{16}",
        "*{8}!*{7}$",
        "&{16}",
        "&{24}",
        "correct-horse-battery-staple",
        "~{20}",
        "#{24}",
        "Summer20##!",
        "~{6}~{6}##",
        "*{4}-*{4}-*{4}-*{4}",
    ])
}

fn no_random(dice: &mut Dice) -> String {
    dice.draw(&[
        "&{8}-&{4}-4&{3}-a&{3}-&{12}",
        "&{7}",
        "&{40}",
        "sha256:&{64}",
        "W/\"&{16}\"",
        "getUser^~{6}Information",
        "com.example.~{6}.^~{5}Service^~{6}",
        "/usr/lib/~{6}/~{8}/lib~{5}.so.#",
        "~{5}-~{4}-~{6}-~{3}-~{8}-2026",
        "web-7&{9}-~{5}",
        "01?{24}",
        "~{4}_~{6}_~{5}_~{7}_v#",
        "IMG_2026####_######.jpg",
        "data:image/png;base64,*{64}",
        "2026-11-29T04:12:05.###Z",
        "MAX_^{6}_^{5}_^{7}",
        "#{20}",
        "~{40}",
        "^{24}",
        "0x&{8}",
        "&&:&&:&&:&&:&&:&&",
    ])
}
