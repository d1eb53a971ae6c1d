"""What schemathesis cannot make of the schema alone: names of things that there are, seals, signed statements.

A part of the cases is left as it was generated, and so are what was made wrong on purpose and the paths of cases
that follow from answers. In the rest, paths name fixtures, bodies of calls that need more than a schema can say are whole, and whatever is deleted was made
for it just before. Every answer is counted by operation in the file that RR_COUNTS names.
"""

import itertools
import json
import os
import random
import re
import threading

import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

with open(os.environ["RR_FIXTURES"], encoding="utf-8") as file:
    FIXTURES = json.load(file)
POOLS = {name: iter(items) for name, items in FIXTURES["pools"].items()}
# Only the one behind the last that was taken fits, so these are not used up by being tried.
VERSIONS = list(FIXTURES["pools"]["versions"])
URL = FIXTURES["url"]
ORG = FIXTURES["org"]
CHOICE = random.Random(int(os.environ["RR_SEED"]))
NUMBERS = itertools.count()
COUNTS = open(os.environ["RR_COUNTS"], "w", encoding="utf-8", buffering=1)
API = requests.Session()
# Bodies for credentials that were just made.
RESEALS = []
API.headers["Authorization"] = f"Bearer {FIXTURES['token']}"

# How often a part of a case is left as it was generated.
UNTOUCHED = 0.12
# What a PATCH may change, by operation, each with a value that is good.
CHANGES = {
    "UpdateOrg": {"displayName": "Changed", "sharing": {}, "defaultLimits": {"perDayPerNode": "9000"},
                  "limitCeilings": {"perDayPerNode": "90000"}, "recordDays": 30},
    "UpdateTarget": {"baseUrl": "https://api.example.com/v2", "connectTimeout": "4s", "testPath": "/ping", "owner": "git",
                     "balance": "BALANCE_LEAST_REQUESTS", "idleTimeout": "60s", "totalTimeout": "300s", "minTls": "1.3",
                     "outlierEjection": {"consecutiveFailures": 3, "ejectionTime": "10s"},
                     "circuitBreaker": {"openFor": "5s"}, "healthCheck": {"path": "/healthz", "interval": "5s"},
                     "httpVersion": "1.1", "traceContext": True,
                     "validation": {"jsonSchema": "{\"type\": \"object\"}", "methods": ["POST"]}},
    "UpdateCredential": {"notAfter": "2040-01-01T00:00:00Z", "defaultEffect": "EFFECT_DENY", "owner": "git",
                         "tags": ["gold"], "metadata": {"team": "payments"}},
    "UpdateProxy": {"active": False, "denyStatus": 403, "opaquePaths": True, "limits": {"perMinutePerNode": "60"},
                    "observe": True, "maxRequestBytes": "1048576", "maxResponseBytes": "8388608",
                    "limitsPerCaller": {"perMinutePerNode": "6"}, "limitsPerAddress": {"perDayPerNode": "600"},
                    "retry": {"attempts": 2, "statuses": [503]}, "maxConcurrentRequestsPerNode": 100,
                    "websocket": True, "clientCertificates": False,
                    "rewrite": {"stripPrefix": "/v1", "addPrefix": "/api/v2", "via": True,
                                "query": {"remove": ["debug"]},
                                "requestHeaders": {"set": [{"name": "x-a", "value": "1"}]}},
                    "cors": {"origins": ["https://app.example.com"], "headers": ["authorization"], "maxAge": "60s"},
                    "forwarded": "FORWARDED_HEADERS_X_FORWARDED", "echoGuard": "ECHO_GUARD_REFUSE",
                    "recording": {"samplePerThousand": 100, "pathTemplates": ["/users/{id}"],
                                  "requestHeaders": ["x-trace"], "responseHeaders": ["x-trace"],
                                  "queryParameters": ["page"]},
                    "validation": {"openapi": "{\"openapi\": \"3.1.0\", \"paths\": {\"/\": {\"get\": {}}}}",
                                   "unlisted": "UNLISTED_OPERATIONS_PASS"}},
    "UpdateRule": {"effect": "EFFECT_DENY", "priority": 7, "notes": "Changed", "when": {"methods": ["PUT"]},
                   "observe": True},
    "UpdateFilter": {"paths": ["a.b[*].c", "d"], "order": 3, "owner": "git"},
    "UpdateMeter": {"active": False, "perHourPerNode": "10", "perCaller": True, "onlyWhen": {"methods": ["GET"]},
                    "value": {"bodyPath": "usage.total", "reserve": "5", "onMissing": "1"}},
    "UpdateMember": {"role": "ROLE_EDITOR"},
    "UpdateRegion": {"displayName": "Changed", "baseUrl": "https://other.example.com", "blindOnly": True},
    "UpdateUser": {"displayName": "Changed", "email": "a@example.com", "operator": False, "disabled": True},
}
FIELDS_OF_LISTS = ["name", "created_at desc", "updated_at"]
FILTERS_OF_LISTS = ["name = f*", "name != zz", "created_at > 2026-01-01T00:00:00Z"]
DIMENSIONS = ["PROXY", "CALLER", "REGION", "STATUS", "STATUS_CLASS", "CODE", "RULE", "OBSERVED_RULE", "REVISION"]
# Good by the schema alone, so a whole body may take over what was generated of them.
FREE = {"displayName", "priority", "order", "opaquePaths", "suspended", "sharing", "disabled", "active"}


def new_name():
    return f"t{next(NUMBERS)}"


def post(path, body, part=None):
    consent = {"allowPartial": "true"} if path.split("/")[-1] in ("rules", "filters", "meters") else None
    answer = API.post(f"{URL}{path}", json=body, params=consent, timeout=30)
    answer.raise_for_status()
    return answer.json()[part] if part else answer.json()


def pool(name):
    return next(POOLS[name], None)


def caller(name=None, **more):
    return {"name": name or new_name(), "caller": {"kind": "CALLER_KIND_API_KEY"}, **more}


def plain():
    return {"value": "sk_live_1", "origins": ["https://api.example.com"], "regions": [FIXTURES["region"]]}


def upstream():
    if CHOICE.random() < 0.5:
        return {"name": new_name(), "upstream": {"kind": "UPSTREAM_KIND_BEARER"}, "plain": plain()}
    sealed = pool("seals")
    if sealed is None:
        return {"name": new_name(), "upstream": {"kind": "UPSTREAM_KIND_NONE"}}
    kind = {"kind": "UPSTREAM_KIND_BEARER", "sealed": sealed["sealed"]}
    return {"id": sealed["id"], "name": new_name(), "version": "1", "upstream": kind}


def parent():
    return CHOICE.choice([{"proxy": "proxy"}, {"target": "target"}, {"credential": "caller"}, {"credential": "secret"}])


def rule():
    when = CHOICE.choice([{}, {"when": {"methods": ["GET"], "path": {"regex": "^/v1/"}}}])
    return {"name": new_name(), **parent(), "effect": CHOICE.choice(["EFFECT_ALLOW", "EFFECT_DENY"]), **when}


def response_filter():
    action = CHOICE.choice(["FILTER_ACTION_RETAIN", "FILTER_ACTION_DESTROY", "FILTER_ACTION_MASK"])
    return {"name": new_name(), **parent(), "action": action, "paths": ["a.b", "c[*].d"]}


def meter():
    return {"name": new_name(), "proxy": "proxy", "requests": {}, "perMinutePerNode": "100"}


def proxy():
    return {
        "name": new_name(),
        "callerCredentials": ["caller"],
        "target": "target",
        "upstreamCredential": "secret",
        "regions": [FIXTURES["region"]],
    }


def target():
    return {"name": new_name(), "baseUrl": "https://api.example.com/v1"}


def token():
    grant = CHOICE.choice([{"role": "ROLE_OPERATOR"}, {"role": "ROLE_VIEWER", "org": ORG}])
    return {"name": new_name(), "grants": [grant]}


def region():
    made = pool("regions")
    return made and {**made, "name": new_name(), "baseUrl": "https://edge.example.com"}


def member():
    return {"user": post("/v1/users", {"name": new_name()}, "user")["name"], "role": "ROLE_VIEWER"}


def apply():
    documents = [{"target": target()}, {"credential": caller()}, {"rule": rule()}]
    return {
        "owner": CHOICE.choice(["", "ci"]),
        "dryRun": CHOICE.random() < 0.3,
        "documents": CHOICE.sample(documents, CHOICE.randint(0, 3)),
    }


def rollback():
    return {"revision": str(FIXTURES["mutable_revision"]), "dryRun": CHOICE.random() < 0.3}


def resealed():
    """A credential, and its seal with one more wrap, which nobody can open; the control plane cannot tell."""
    made = {"name": new_name(), "upstream": {"kind": "UPSTREAM_KIND_BEARER"}, "plain": plain()}
    name = post(f"/v1/orgs/{ORG}/credentials", made, "credential")["name"]
    seal = API.get(f"{URL}/v1/orgs/{ORG}/credentials/{name}/sealedSecret", timeout=30).json()
    key = API.get(f"{URL}/v1/regions/mutable-region", timeout=30).json()["region"]["key"]
    wrap = {"region": key["region"], "epoch": key["epoch"], "encapsulated": "A" * 43 + "=", "sealedKey": "A" * 64}
    RESEALS.append({"version": seal["version"], "sealed": {**seal["sealed"], "wraps": [*seal["sealed"]["wraps"], wrap]}})
    return {"org": ORG, "credential": name}


def version():
    return VERSIONS[0] if VERSIONS else None


def tested():
    more = CHOICE.choice([{}, {"regions": [FIXTURES["region"]], "timeout": "1s"}])
    # Two lead to the target.
    return {"proxy": "proxy", **more}


def marked():
    if CHOICE.random() < 0.3:
        return CHOICE.choice([{"all": True}, {"all": True, "through": "2040-01-01T00:00:00Z"}])
    listed = API.get(f"{URL}/v1/orgs/{ORG}/notifications", timeout=30).json()
    return {"notifications": [one["id"] for one in listed.get("notifications", [])] or ["no_none"]}


# Whole bodies, by operation.
BODIES = {
    "CreateOrg": lambda: {"name": new_name(), "displayName": "Payments"},
    "CreateTarget": target,
    "CreateCredential": lambda: CHOICE.choice([caller, upstream])(),
    "CreateProxy": proxy,
    "CreateRule": rule,
    "CreateFilter": response_filter,
    "CreateMeter": meter,
    "CreateMember": member,
    "CreateUser": lambda: {"name": new_name(), "email": "a@example.com"},
    "CreateToken": token,
    "CreateRegion": region,
    "CreateNodeToken": lambda: pool("node_tokens"),
    "ReplaceSecret": version,
    "ResealSecret": lambda: RESEALS.pop(0) if RESEALS else None,
    "RollCredential": lambda: {"overlap": CHOICE.choice(["0s", "3600s"])},
    "ApplyOnce": apply,
    "RollbackOrg": rollback,
    "UndeleteOrg": dict,
    "TestTarget": tested,
    "PermitTrial": lambda: {"region": FIXTURES["region"]},
    "MarkNotificationsRead": marked,
    "MarkInstallationNotificationsRead": marked,
    "MarkMyNotificationsRead": marked,
}


def made_in_org(collection, noun, make):
    def throwaway():
        name = post(f"/v1/orgs/{ORG}/{collection}", make(), noun)["name"]
        return {"org": ORG, noun: name}

    return throwaway


def made(collection, noun, make, by="name"):
    def throwaway():
        body = make()
        return body and {noun: post(f"/v1/{collection}", body, noun)[by]}

    return throwaway


def made_org():
    return {"org": post("/v1/orgs", {"name": new_name()}, "org")["id"]}


def deleted_org():
    place = made_org()
    API.delete(f"{URL}/v1/orgs/{place['org']}", timeout=30).raise_for_status()
    return place


def watched_org():
    """One that goes while it is watched, which ends the stream."""
    place = made_org()
    threading.Timer(0.2, API.delete, [f"{URL}/v1/orgs/{place['org']}"], {"timeout": 30}).start()
    return place


def made_node_token():
    statement = pool("node_tokens")
    where = f"/v1/regions/{FIXTURES['region']}/nodeTokens"
    return statement and {"region": FIXTURES["region"], "node_token": post(where, statement, "nodeToken")["id"]}


# Where calls go that take something away, or would.
THROWAWAYS = {
    "DeleteOrg": made_org,
    "DeleteTarget": made_in_org("targets", "target", target),
    "DeleteCredential": made_in_org("credentials", "credential", caller),
    "DeleteProxy": made_in_org("proxies", "proxy", proxy),
    "DeleteRule": made_in_org("rules", "rule", rule),
    "DeleteFilter": made_in_org("filters", "filter", response_filter),
    "DeleteMeter": made_in_org("meters", "meter", meter),
    "DeleteMember": made_in_org("members", "member", member),
    "DeleteUser": made("users", "user", lambda: {"name": new_name()}),
    "DeleteRegion": made("regions", "region", region),
    "DeleteToken": made("tokens", "token", token, by="id"),
    "DeleteNodeToken": made_node_token,
    "UndeleteOrg": deleted_org,
    "WatchNotifications": watched_org,
    "TailRequests": watched_org,
    "RollbackOrg": lambda: {"org": FIXTURES["mutable"]},
    "ReplaceSecret": lambda: {"org": ORG, "credential": "replaced"},
    "GetSealedSecret": lambda: {"org": ORG, "credential": "replaced"},
    "ResealSecret": resealed,
    "RollCredential": made_in_org("credentials", "credential", caller),
}


def fixture(variable, call):
    if variable == "revision":
        return str(CHOICE.randint(1, FIXTURES["revision"]))
    if call == "UpdateOrg":
        return FIXTURES["mutable"]
    if call.startswith("Update") and variable != "org":
        return f"mutable-{variable}"
    return FIXTURES["paths"][variable]


def place(call, variables):
    throwaway = THROWAWAYS.get(call)
    if throwaway is not None:
        return throwaway()
    return {variable: fixture(variable, call) for variable in variables}


def mended_query(call, path, query):
    query = dict(query)
    keep = CHOICE.random
    if "pageToken" in query:
        del query["pageToken"]
        if keep() < 0.2:
            # A token belongs to its query, so the rest goes.
            first = API.get(f"{URL}{path}", params={"pageSize": 1}, timeout=30)
            following = first.ok and first.json().get("nextPageToken")
            if following:
                return {"pageToken": following}
    if "filter" in query:
        query["filter"] = CHOICE.choice(FILTERS_OF_LISTS)
    if "orderBy" in query:
        query["orderBy"] = CHOICE.choice(FIELDS_OF_LISTS)
    if call == "QueryMetrics":
        good = {"filter": "status >= 500", "step": "3600s", "limit": 5,
                "groupBy": CHOICE.sample([f"METRIC_DIMENSION_{it}" for it in DIMENSIONS], 2)}
        query.update({name: value for name, value in good.items() if name in query})
    if call == "QueryAccounts":
        good = {"node": "", "step": "3600s"}
        query.update({name: value for name, value in good.items() if name in query})
    if "revision" in query:
        query["revision"] = "0"
    if "cascade" in query:
        query["cascade"] = []
    if call == "DiffRevisions":
        query["from"] = str(FIXTURES["revision"])
        query.pop("to", None)
    if call == "ExportAudit":
        query.update({"from": "1"} if keep() < 0.2 else {"from": str(FIXTURES["revision"])})
        query.pop("to", None)
    for name in ("etag", "resource", "actor", "proxy", "region", "after", "before"):
        if name in query and keep() < 0.8:
            del query[name]
    return query


def mended_body(call, body):
    if call in CHANGES:
        good = CHANGES[call]
        names = CHOICE.sample(sorted(good), CHOICE.randint(1, len(good)))
        return {name: good[name] for name in names}
    make = BODIES.get(call)
    whole = make and make()
    if whole and isinstance(body, dict):
        taken = {name: value for name, value in body.items() if name in FREE}
        whole = {**taken, **whole}
        if whole.get("priority", 0) > 1000:
            del whole["priority"]
    return whole


def good(case, location):
    """It was generated to be taken, or there is nothing of it."""
    component = case.meta.components.get(location)
    return component is None or component.mode == GenerationMode.POSITIVE


def last_of(case):
    return re.findall(r"{(\w+)}", case.path)[-1]


def must_move(call, case):
    """A watch of something that stays would not end, and what others use must stay."""
    named = str(case.path_parameters.get(last_of(case)))
    return call in ("WatchNotifications", "TailRequests") or (call in THROWAWAYS and named in FIXTURES["kept"])


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.method.upper() != case.operation.method.upper():
        return
    call = re.sub(r"_\d$", "", name_of(case).partition("_")[2])
    if case.path_parameters and good(case, ParameterLocation.PATH):
        variables = list(case.path_parameters)
        if must_move(call, case):
            case.path_parameters = place(call, variables) or {**case.path_parameters, last_of(case): "nobody"}
        elif case.meta.phase.name != TestPhase.STATEFUL and CHOICE.random() > UNTOUCHED:
            case.path_parameters = place(call, variables) or case.path_parameters
    if case.query and good(case, ParameterLocation.QUERY) and CHOICE.random() > UNTOUCHED:
        case.query = mended_query(call, case.formatted_path, case.query)
    if case.headers and "If-Match" in case.headers and good(case, ParameterLocation.HEADER):
        if CHOICE.random() > UNTOUCHED:
            del case.headers["If-Match"]
    if isinstance(case.body, dict) and good(case, ParameterLocation.BODY) and CHOICE.random() > UNTOUCHED:
        body = mended_body(call, case.body)
        if body is not None:
            case.body = body
            if case.query and "updateMask" in case.query and good(case, ParameterLocation.QUERY):
                case.query["updateMask"] = ",".join(body)
        # No proxy leads to a target that was just made, in an organization that may be as new.
        if call == "TestTarget" and case.meta.phase.name == TestPhase.STATEFUL:
            case.body.pop("proxy", None)


@schemathesis.hook
def after_call(context, case, response):
    name = name_of(case)
    if name.endswith("_ReplaceSecret") and response.status_code == 200:
        VERSIONS.pop(0)
    usual = case.method.upper() == case.operation.method.upper()
    line = {"operation": name if usual else None, "status": response.status_code}
    COUNTS.write(json.dumps(line) + "\n")


def name_of(case):
    return case.operation.definition.raw["operationId"]
