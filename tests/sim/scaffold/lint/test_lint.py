"""What is wrong with a deployment's files, found without running anything.

Goal: every rule fires on the mistake that it is about, where the mistake stands, and is silent once it is mended; the
brief's own configuration is found undeployable; this project's deployment has no error. Method: one sound deployment,
and one mistake at a time.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sim import lint
from sim.foundation.errors import UsageError
from sim.report.json_document import lint_document
from sim.report.lint_tables import findings, summary
from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.linting import RULES
from tests.sim.test_cli import headroom

CONFIG = """
name = "shop"
main = "src/index.ts"
compatibility_date = "2026-11-01"

[observability]
enabled = true

[limits]
cpu_ms = 50

[[d1_databases]]
binding = "DB"
database_name = "shop"
database_id = "5f3c2b1a-0d4e-4f6a-9b8c-7d6e5f4a3b2c"

[[durable_objects.bindings]]
name = "CART"
class_name = "Cart"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Cart"]

[env.staging]
[[env.staging.d1_databases]]
binding = "DB"
database_name = "shop-staging"
database_id = "6f3c2b1a-0d4e-4f6a-9b8c-7d6e5f4a3b2c"

[[env.staging.durable_objects.bindings]]
name = "CART"
class_name = "Cart"
"""

CODE = """
import { DurableObject } from "cloudflare:workers";
export class Cart extends DurableObject {
  async fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }
}
export default { fetch: (request, env) => env.CART.getByName("a").fetch(request) };
"""

SCHEMA = """
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE);
CREATE TABLE orders (id TEXT PRIMARY KEY, user_id TEXT REFERENCES users(id), cents INTEGER, is_paid INTEGER);
CREATE INDEX idx_orders_user ON orders(user_id, is_paid);
"""

WORKFLOW = """
name: deploy
on: [push]
jobs:
  security-scan:
    runs-on: ubuntu-24.04
    steps:
      - run: npm audit
  deploy:
    needs: [security-scan]
    if: github.ref == 'refs/heads/main'
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd
      - run: npm ci
      - run: npx wrangler d1 migrations apply DB --remote
      - run: npx wrangler deploy
"""

RUNBOOK = """# Objects

Cart: one object a customer. When it refuses: look for one customer with many requests.
"""

FILES = {
    "wrangler.toml": CONFIG,
    "src/index.ts": CODE,
    "migrations/0001_init.sql": SCHEMA,
    ".github/workflows/deploy.yml": WORKFLOW,
    "runbooks/objects.md": RUNBOOK,
}


def written(folder: Path, **changes: tuple[str, str]) -> Path:
    """The sound deployment, with a text replaced in some files; keys are the files' endings."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        old, new = changes.get(file.suffix[1:], ("", ""))
        assert old in text, "a mistake must be made somewhere"
        file.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return folder


def found_in(folder: Path) -> list[Finding]:
    return list(lint(folder).findings)


def test_sound_deployment_has_no_finding(tmp_path: Path) -> None:
    assert found_in(written(tmp_path)) == []
    assert lint(tmp_path).looked_at == {"module": 1, "folder of migrations": 1, "workflow": 1}


MISTAKES: list[tuple[str, str, str, str]] = [
    # rule, file's ending, what is replaced, by what
    ("missing-class-migration", "toml", 'new_sqlite_classes = ["Cart"]', "new_sqlite_classes = []"),
    ("key-value-class", "toml", "new_sqlite_classes", "new_classes"),
    ("no-cpu-limit", "toml", "[limits]\ncpu_ms = 50\n", ""),
    ("no-observability", "toml", "[observability]\nenabled = true\n", ""),
    (
        "no-dead-letter-queue", "toml", "[env.staging]\n",
        '[env.staging]\n[[env.staging.queues.consumers]]\nqueue = "orders"\nmax_retries = 3\n',
    ),
    ("placeholder-id", "toml", "5f3c2b1a-0d4e-4f6a-9b8c-7d6e5f4a3b2c", "your-database-id"),
    ("placeholder-id", "toml", "5f3c2b1a-0d4e-4f6a-9b8c-7d6e5f4a3b2c", "00000000-0000-0000-0000-000000000000"),
    ("binding-not-inherited", "toml", CONFIG[CONFIG.index("[[env.staging.durable") :], ""),
    ("no-staging", "toml", CONFIG[CONFIG.index("[env.staging]") :], ""),
    ("missing-main", "toml", "src/index.ts", "src/main.ts"),
    ("class-not-exported", "ts", "export class Cart", "class Cart"),
    ("unknown-binding", "ts", "env.CART.getByName", "env.BASKET.getByName"),
    ("socket-without-hibernation", "ts", "this.ctx.acceptWebSocket(server)", "server.accept()"),
    ("foreign-key-without-index", "sql", "CREATE INDEX idx_orders_user ON orders(user_id, is_paid);", ""),
    ("index-on-a-flag", "sql", "orders(user_id, is_paid);", "orders(user_id); CREATE INDEX p ON orders(is_paid);"),
    ("money-in-floating-point", "sql", "cents INTEGER", "price_usd REAL"),
    ("migration-fails", "sql", "CREATE TABLE orders", "CREATE TABEL orders"),
    ("migration-not-remote", "yml", "apply DB --remote", "apply DB"),
    (
        "deploy-before-migration", "yml",
        "      - run: npx wrangler d1 migrations apply DB --remote\n      - run: npx wrangler deploy\n",
        "      - run: npx wrangler deploy\n      - run: npx wrangler d1 migrations apply DB --remote\n",
    ),
    ("no-migration-step", "yml", "      - run: npx wrangler d1 migrations apply DB --remote\n", ""),
    ("deploy-without-scan", "yml", "    needs: [security-scan]\n", ""),
    ("packages-not-installed", "yml", "      - run: npm ci\n", ""),
    ("deploy-from-any-branch", "yml", "    if: github.ref == 'refs/heads/main'\n", ""),
    ("unpinned-wrangler", "yml", "run: npx wrangler deploy", "run: npx wrangler@latest deploy"),
    ("unpinned-action", "yml", "checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "checkout@v6"),
    ("yaml", "yml", "jobs:", "jobs: ["),
    ("no-runbook", "md", "Cart: one object", "Basket: one object"),
    ("secret-in-files", "ts", "env.CART", 'charge("' + "sk_" + "live_" + 24 * "7" + '") + env.CART'),
    ("secret-in-files", "toml", "[limits]", "# " + "AK" + "IA" + 16 * "Q" + "\n[limits]"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "ending", "old", "new"), MISTAKES)
def test_mistake_is_found_where_it_stands(tmp_path: Path, rule: str, ending: str, old: str, new: str) -> None:
    changes: dict[str, Any] = {ending: (old, new)}
    found = found_in(written(tmp_path, **changes))
    assert [one.rule for one in found] == [rule]
    assert found[0].message
    assert found[0].remedy
    file = tmp_path / found[0].file
    assert file.exists() or file.parent.exists()


def test_a_credential_is_not_repeated_in_the_finding(tmp_path: Path) -> None:
    secret = "sk_" + "live_" + 24 * "7"
    (found,) = found_in(written(tmp_path, ts=("env.CART", f'charge("{secret}") + env.CART')))
    assert secret not in repr(found)


def test_every_rule_has_a_mistake() -> None:
    assert {rule for rule, *_ in MISTAKES} == set(RULES)


BRIEF = """
name = "superinstance-api"
main = "src/index.ts"
compatibility_date = "2024-01-01"

[vars]
ENVIRONMENT = "production"

[[d1_databases]]
binding = "DB"
database_name = "superinstance-prod"
database_id = "xxx"

[[r2_buckets]]
binding = "STORAGE"
bucket_name = "superinstance-loras"

[durable_objects]
bindings = [
  { name = "BILLING_LEDGER", class_name = "BillingLedger" },
  { name = "CLOUD_SYNAPSE", class_name = "CloudSynapse" },
]

[triggers]
crons = ["*/5 * * * *"]
"""


def test_configuration_of_the_brief_cannot_be_deployed(tmp_path: Path) -> None:
    """No migrations block, one of two classes exported, a placeholder, no staging."""
    (tmp_path / "src").mkdir()
    (tmp_path / "wrangler.toml").write_text(BRIEF)
    (tmp_path / "src/index.ts").write_text("export class BillingLedger {}\nexport default {};\n")
    rules = [one.rule for one in found_in(tmp_path)]
    assert rules.count("missing-class-migration") == 2
    assert rules.count("class-not-exported") == 1
    assert {"placeholder-id", "no-staging", "no-cpu-limit"} <= set(rules)


def test_own_deployment_has_no_error() -> None:
    own = lint("deploy")
    assert [one for one in own.findings if one.severity is Severity.ERROR] == []
    assert own.looked_at["workflow"] == 1


@pytest.mark.parametrize("ending", ["json", "jsonc"])
def test_configuration_may_be_json_and_lie_one_folder_below(tmp_path: Path, ending: str) -> None:
    below = tmp_path / "worker"
    (below / "src").mkdir(parents=True)
    (below / "src/index.ts").write_text("export default {}")
    (below / f"wrangler.{ending}").write_text(json.dumps({"name": "a", "main": "src/index.ts"}))
    assert {one.rule for one in found_in(tmp_path)} == {"no-cpu-limit", "no-observability"}


def test_rule_can_be_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path, toml=("[limits]\ncpu_ms = 50\n", ""))
    assert lint(folder, ignore=["no-cpu-limit"]).findings == ()
    with pytest.raises(UsageError, match="ignore='no-cpu' is not a rule; did you mean no-cpu-limit"):
        lint(folder, ignore=["no-cpu"])


@pytest.mark.parametrize("path", ["missing", "."])
def test_folder_without_a_configuration_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"path='[^\n]*$"):
        lint(path)


def test_command_says_it_and_ends_with_one(tmp_path: Path) -> None:
    folder = written(tmp_path, yml=("apply DB --remote", "apply DB"))
    ended = headroom("lint", str(folder), "--json", "out.json", cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "migration-not-remote H27" in ended.stdout
    assert "found 1 error in the configuration, 1 module, 1 folder of migrations and 1 workflow" in ended.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["failed"], document["findings"][0]["rule"]) == (True, "migration-not-remote")


def test_table_and_document_hold_every_finding() -> None:
    own = lint("deploy")
    assert len(findings(own).rows) == len(lint_document(own)["findings"]) == len(own.findings)
    assert summary(own).startswith("found ")


def test_new_object_needs_every_step(tmp_path: Path) -> None:
    """Class, binding, migration, monitoring and runbook: with one of them missing, it is the one that is reported."""
    steps = {
        "class-not-exported": ("ts", "export class Cart", "class Cart"),
        "unknown-binding": ("ts", "env.CART", "env.BASKET"),
        "missing-class-migration": ("toml", 'new_sqlite_classes = ["Cart"]', "new_sqlite_classes = []"),
        "no-observability": ("toml", "[observability]\nenabled = true\n", ""),
        "no-runbook": ("md", "Cart: one object", "Basket: one object"),
    }
    for rule, (ending, old, new) in steps.items():
        changes: dict[str, Any] = {ending: (old, new)}
        assert [one.rule for one in found_in(written(tmp_path / rule, **changes))] == [rule]


def test_without_any_runbook_it_is_a_note_and_with_others_a_warning(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "docs").mkdir()
    inside = (folder / "runbooks").rename(folder / "docs" / "runbooks")
    assert found_in(folder) == []
    (inside / "objects.md").write_text("# Something else\n")
    assert [(one.rule, one.severity) for one in found_in(folder)] == [("no-runbook", Severity.WARNING)]
    (inside / "objects.md").unlink()
    inside.rmdir()
    assert [(one.rule, one.severity) for one in found_in(folder)] == [("no-runbook", Severity.NOTE)]
