//! Examples of what requests go through: targets, credentials, proxies, rules, filters and meters, one by one and as files.
//!
//! Those of credentials of each kind are beside their flags.

use super::Examples;

pub(super) const ALL: &[Examples] = &[
    (
        "target create",
        &[
            "target create maps --base-url https://maps.example.com --min-tls 1.3",
            "target create ledger --base-url https://ledger.example.com \\\n    --more-base-url https://ledger-2.example.com --ca ledger-ca.pem",
        ],
    ),
    ("target list", &["target list", "target list --filter 'name = pay*' -o wide"]),
    ("target show", &["target show payments", "target show payments --at 118"]),
    (
        "target update",
        &[
            "target update payments --test-path /health --response-timeout 10s",
            "target update payments --circuit-breaker failures=5,open=10s",
        ],
    ),
    ("target delete", &["target delete maps --dry-run", "target delete maps --yes"]),
    (
        "credential replace-secret",
        &[
            "credential replace-secret github-token --target github",
            "credential replace-secret github-token --overlap 24h \\\n    --origin https://api.github.com --value-file token.txt",
        ],
    ),
    ("credential reseal", &["credential reseal github-token --region us --region-key eu.key"]),
    ("credential list", &["credential list", "credential list --filter 'name = git*' -o name"]),
    ("credential show", &["credential show app", "credential show app --at 118"]),
    (
        "credential update",
        &[
            "credential update app --not-after 90d --tag gold",
            "credential update app --metadata team=payments",
        ],
    ),
    (
        "credential delete",
        &[
            "credential delete partner --cascade proxy/internal --dry-run",
            "credential delete reports --yes",
            "credential delete partner --cascade proxy/internal --yes \\\n    --wait --timeout 5s",
        ],
    ),
    (
        "proxy create",
        &[
            "proxy create github --caller app --target github \\\n    --upstream github-token --region eu",
            "proxy create github-read --caller app --caller partner --target github \\\n    --upstream github-token --region eu --default-effect deny --per-minute 600",
        ],
    ),
    ("proxy list", &["proxy list", "proxy list --filter 'name = pay*' -o wide"]),
    ("proxy show", &["proxy show pay", "proxy show acme.pay -o jsonpath=urls"]),
    (
        "proxy update",
        &[
            "proxy update pay --per-minute 600 --max-request-bytes 8MiB",
            "proxy update pay --retry attempts=2,on=502+503",
            "proxy update pay --validate-openapi api.yaml --validate-unlisted pass",
        ],
    ),
    ("proxy delete", &["proxy delete github-read --yes"]),
    (
        "rule create",
        &[
            "rule create read-only --on proxy/pay --deny --method POST --method PUT",
            "rule create api-v1 --on target/github --allow --path '^/v1/'",
        ],
    ),
    ("rule list", &["rule list", "rule list --on proxy/pay", "rule list --filter 'name = no-*' -o json"]),
    ("rule show", &["rule show no-delete"]),
    (
        "rule update",
        &["rule update no-delete --notes 'Nothing is deleted here.'", "rule update no-delete --observe"],
    ),
    ("rule delete", &["rule delete no-delete"]),
    (
        "filter create",
        &[
            "filter create no-phone --on proxy/pay --mask 'customers[*].phone'",
            "filter create slim --on proxy/pay --retain id --retain 'items[*].name'",
            "filter create no-cards --on proxy/pay --detect card,iban,email \\\n    --direction request --mask-with '[redacted]'",
        ],
    ),
    ("filter list", &["filter list", "filter list --on proxy/pay -o wide"]),
    ("filter show", &["filter show no-email"]),
    ("filter update", &["filter update no-email --mask customer.email --mask customer.phone"]),
    ("filter delete", &["filter delete no-email"]),
    (
        "meter create",
        &[
            "meter create reads --on proxy/pay --requests --only-when-method GET \\\n    --per-minute 1000",
            "meter create tokens --on proxy/pay --value-path usage.total_tokens \\\n    --on-missing 0 --per-day 1000000",
            "meter create claude --on proxy/pay --tokens anthropic \\\n    --only-when-body model=^claude --per-hour 500000 \\\n    --reserve 2000 --on-missing 2000",
        ],
    ),
    ("meter list", &["meter list", "meter list --on proxy/pay -o wide"]),
    ("meter show", &["meter show writes"]),
    ("meter update", &["meter update writes --per-day 20000 --per-caller true"]),
    ("meter delete", &["meter delete writes"]),
    ("validate", &["validate -f acme/", "validate -f acme/app.yaml -o json"]),
    ("schema", &["schema > documents.schema.json"]),
    ("diff", &["diff -f acme/", "diff -f acme/ --owner git --prune -o json"]),
    (
        "apply",
        &[
            "apply -f acme/ --dry-run",
            "apply -f acme/ --owner git --prune --yes --wait=serving:99% --timeout 2m",
            "apply -f acme/ --preview pr-1 --expires 24h --yes",
        ],
    ),
    ("preview list", &["preview list", "preview list -o name"]),
    ("preview show", &["preview show pr-1"]),
    ("preview delete", &["preview delete pr-1 --yes"]),
    ("export", &["export > acme.yaml", "export --owner git -o json"]),
];
