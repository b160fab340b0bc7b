"""MediaWiki (Debian's mediawiki, SQLite, PHP's own server): installed into a folder, changed by its scripts."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
from pathlib import Path

from tests.proof.real.daemons import Daemon, free_port
from tests.proof.real.desk import NAME
from tests.proof.real.line import Line

PROGRAM = Path("/usr/share/mediawiki")
SETTINGS = """
$wgRateLimits = [];
$wgJobRunRate = 0;
$wgEnableUploads = false;
$wgExtraSignatureNamespaces = [];
$wgHooks['ApiMaxLagInfo'][] = static function ( &$info ) {{
    if ( file_exists( '{folder}/lag' ) ) {{ $info['lag'] = 9; }}
}};
if ( file_exists( '{folder}/private' ) ) {{ $wgGroupPermissions['*']['read'] = false; }}
"""


class Wiki:
    """A wiki whose files are all in `folder`. Namespaces 0 and 12 are those that are looked at."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True)
        self._folder = folder
        port = free_port()
        self.line = Line(port)
        self._environ = {"MW_CONFIG_FILE": f"{folder}/LocalSettings.php", "PHP_CLI_SERVER_WORKERS": "4"}
        self._daemon = Daemon(
            ["php", "-S", f"127.0.0.1:{port}", "-t", str(PROGRAM)], port, folder / "said.log", self._environ
        )
        password = folder / "pass"
        password.write_text(secrets.token_hex(12))
        self.script(
            "install",
            "--dbtype",
            "sqlite",
            "--dbpath",
            f"{folder}/data",
            "--dbname",
            "wiki",
            "--confpath",
            str(folder),
            "--server",
            f"http://127.0.0.1:{self.line.port}",
            "--scriptpath",
            "",
            "--passfile",
            str(password),
            "Proof",
            "Admin",
        )
        with (folder / "LocalSettings.php").open("a") as settings:
            settings.write(SETTINGS.format(folder=folder))

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.line.port}/api.php"

    def start(self) -> None:
        self._daemon.start()

    def stop(self) -> None:
        self._daemon.stop()

    def write(self, pages: dict[str, str], *, prefix: str = "") -> int:
        """Make or edit pages; these stand in the recent changes."""
        folder = self._folder / f"texts-{secrets.token_hex(4)}"
        folder.mkdir()
        for title, text in pages.items():
            (folder / f"{title}.txt").write_text(text)
        files = [str(path) for path in sorted(folder.iterdir())]
        self.script("importTextFiles", "--user", "Admin", "--overwrite", "--rc", "--prefix", prefix, *files)
        return len(pages)

    def batch(self, script: str, lines: list[str]) -> None:
        """`moveBatch` and `deleteBatch`: one page a line."""
        listed = self._folder / f"{script}-{secrets.token_hex(4)}"
        listed.write_text("".join(f"{line}\n" for line in lines))
        self.script(script, "-u", "Admin", str(listed))

    def jobs(self) -> None:
        self.script("runJobs")

    def dump(self, pages: dict[str, str]) -> None:
        """Import pages as a dump of another wiki; no feed tells of these."""
        made = "".join(
            f"<page><title>{title}</title><ns>0</ns><id>{n}</id><revision><id>{n}</id>"
            f"<timestamp>2031-01-0{n % 9 + 1}T00:00:00Z</timestamp><contributor><username>Elsewhere</username>"
            f"<id>9</id></contributor><model>wikitext</model><format>text/x-wiki</format><text>{text}</text></revision></page>\n"
            for n, (title, text) in enumerate(pages.items(), 1)
        )
        file = self._folder / f"dump-{secrets.token_hex(4)}.xml"
        file.write_text(
            f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">\n{made}</mediawiki>'
        )
        self.script("importDump", "--no-updates", str(file))

    def bot(self) -> str:
        """A bot password of a reader's: `Reader@proof` and this."""
        self.script("createAndPromote", "Reader", secrets.token_hex(12))
        said = self.script(
            "createBotPassword", "--appid", "proof", "--grants", "basic", "Reader", secret := secrets.token_hex(16)
        )
        assert "Reader" in said or said == "" or "Success" in said
        return secret

    def lag(self, on: bool) -> None:
        (self._folder / "lag").touch() if on else (self._folder / "lag").unlink(missing_ok=True)

    def private(self) -> None:
        (self._folder / "private").touch()

    def uris(self) -> set[str]:
        """By its database."""
        asked = "SELECT page_id FROM page WHERE page_namespace IN (0, 12) AND page_is_redirect = 0"
        with sqlite3.connect(self._folder / "data" / "wiki.sqlite") as database:
            return {f"{NAME}/{number}" for (number,) in database.execute(asked)}

    def script(self, name: str, *words: str) -> str:
        """A maintenance script. Its arguments are seen in the process list: none is a secret that penstock is given,
        but for that of `createBotPassword`, which takes it in no other way."""
        ran = subprocess.run(
            ["php", str(PROGRAM / "maintenance" / f"{name}.php"), *words],
            cwd=self._folder,
            env={**os.environ, **({} if name == "install" else self._environ)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if ran.returncode:
            raise RuntimeError(f"{name} failed: {(ran.stdout + ran.stderr)[-600:]}")
        return ran.stdout
