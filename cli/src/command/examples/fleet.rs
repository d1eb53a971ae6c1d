//! Examples of machines and history: regions, nodes, revisions, the audit, notifications and records.
//!
//! Says nothing of who may do it, and nothing of resources of an organization.

use super::Examples;

pub(super) const ALL: &[Examples] = &[
    (
        "region create",
        &[
            "region create us --key-file us.key --recovery-copy /media/usb/us.key",
            "region create asia --base-url https://asia.example.com \\\n    --key-file asia.key --no-recovery-copy",
        ],
    ),
    ("region list", &["region list", "region list -o wide"]),
    ("region show", &["region show eu"]),
    (
        "region update",
        &[
            "region update eu --base-url https://eu.example.com",
            "region update eu --display-name 'European Union'",
        ],
    ),
    (
        "region rotate-key",
        &[
            "region rotate-key eu --region-key eu.key \\\n    --recovery-copy /media/usb/eu.key",
            "region rotate-key eu --region-key eu.key \\\n    --now --yes",
        ],
    ),
    (
        "region attest",
        &[
            "region attest eu --region-key eu.key",
            "region attest eu --region-key eu.key \\\n    --recovery-copy /media/usb/eu.key",
        ],
    ),
    ("region renew-key", &["region renew-key eu --region-key eu.key"]),
    (
        "region export-key",
        &["region export-key --region-key eu.key --out team.key \\\n    --recipient alice --recipient bob"],
    ),
    ("region import-key", &["region import-key team.key --region-key mine.key"]),
    ("region fingerprint", &["region fingerprint eu", "region fingerprint --region-key eu.key"]),
    ("region delete", &["region delete us --dry-run", "region delete us --yes"]),
    ("authority show", &["authority show", "authority show --out authority.crt"]),
    ("authority add", &["authority add"]),
    ("authority switch", &["authority switch"]),
    ("authority remove", &["authority remove --yes", "authority remove --now --yes"]),
    ("request show", &["request show rq_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("node list", &["node list", "node list --region eu --behind"]),
    ("node watch", &["node watch", "node watch --region eu --unhealthy"]),
    ("node show", &["node show nd_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("node why", &["node why nd_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("node accounts", &["node accounts", "node accounts --region eu --since 7d --step 24h"]),
    ("node drain", &["node drain nd_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("node undrain", &["node undrain nd_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("node revoke", &["node revoke nd_4d6hhq2v9m1k7xw5r8s3t0zyba --with-token"]),
    (
        "node token create",
        &[
            "node token create eu --region-key eu.key --out eu-1.token",
            "node token create eu --region-key eu.key --uses 20 --expires-in 24 \\\n    --out autoscaler.token",
        ],
    ),
    ("node token list", &["node token list eu"]),
    ("node token revoke", &["node token revoke eu nt_4d6hhq2v9m1k7xw5r8s3t0zyba"]),
    ("fleet", &["fleet", "fleet -o json"]),
    ("explain", &["explain proxy/pay", "explain credential app -o json"]),
    ("revision list", &["revision list", "revision list --limit 5 -o json"]),
    ("revision show", &["revision show 118"]),
    ("revision wait", &["revision wait head", "revision wait 118 --region eu --percent 99 --deadline 2m"]),
    ("revision adopt", &["revision adopt --region eu --dry-run"]),
    ("revision release", &["revision release 118 --region eu"]),
    ("audit list", &["audit list --since 7d", "audit list --installation -o json"]),
    ("audit export", &["audit export > audit.jsonl", "audit export --from 118 --to 121"]),
    ("audit refused", &["audit refused", "audit refused --limit 100 -o json"]),
    ("audit verify", &["audit verify", "audit verify --edge http://127.0.0.1:7431"]),
    (
        "notification list",
        &["notification list --unread", "notification list --mine", "notification list --installation"],
    ),
    ("notification show", &["notification show no_118"]),
    ("notification read", &["notification read no_118", "notification read --all --through 1d"]),
    ("notification watch", &["notification watch"]),
];
