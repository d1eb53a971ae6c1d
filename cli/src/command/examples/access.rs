//! Examples of who works with the installation, and where: contexts, organizations, users, members and tokens.
//!
//! Says nothing of what requests go through, and nothing of machines.

use super::Examples;

pub(super) const ALL: &[Examples] = &[
    ("context list", &["context list"]),
    ("context show", &["context show", "context show staging -o yaml"]),
    ("context use", &["context use staging"]),
    ("context update", &["context update staging --set-org acme"]),
    ("context delete", &["context delete staging"]),
    ("org create", &["org create blue", "org create green --display-name 'Green Energy' --per-minute 600"]),
    ("org list", &["org list", "org list --filter 'name = a*' -o name", "org list --deleted"]),
    ("org show", &["org show acme", "org show acme --at 118"]),
    (
        "org update",
        &[
            "org update acme --per-minute 600 --ceiling-per-minute 5000",
            "org update acme --share targets=off --record-days 30",
        ],
    ),
    ("org delete", &["org delete blue --dry-run", "org delete blue --yes"]),
    ("org undelete", &["org undelete blue"]),
    ("org diff", &["org diff 118", "org diff 118 121 -o json"]),
    ("org rollback", &["org rollback 118 --dry-run", "org rollback 118 --expect 121 --yes"]),
    (
        "user create",
        &[
            "user create ada --display-name 'Ada Lovelace' --email ada@example.com",
            "user create bob --operator true",
        ],
    ),
    ("user list", &["user list", "user list --sort 'created_at desc' --limit 10"]),
    ("user show", &["user show ada"]),
    ("user update", &["user update ada --email ada@example.org"]),
    ("user disable", &["user disable ada"]),
    ("user enable", &["user enable ada"]),
    ("user delete", &["user delete bob"]),
    ("member add", &["member add ada --role editor"]),
    ("member list", &["member list", "member list -o name"]),
    ("member show", &["member show ada"]),
    ("member update", &["member update ada --role viewer"]),
    ("member remove", &["member remove ada"]),
    (
        "token create",
        &[
            "token create ci --role editor@acme --expires 90d --out ci.token",
            "token create ada-laptop --user ada --out ada.token",
            "token create metrics --role viewer@acme \\\n    --call MetricsService.QueryMetrics --out metrics.token",
        ],
    ),
    ("token list", &["token list", "token list -o json"]),
    ("token show", &["token show ci", "token show ci -o json"]),
    ("token revoke", &["token revoke ci"]),
    ("whoami", &["whoami", "whoami -o json"]),
    ("version", &["version", "version -o json"]),
];
