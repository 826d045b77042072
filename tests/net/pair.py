# SPDX-License-Identifier: BSD-2-Clause
"""plait-remote on a topology's VPS and plait-local on its gateway, as a user would run them.

    with Pair(topo, local_extra="[relay]\\nclear = yes\\n") as pair: ...
"""
import contextlib
import json
import signal
import socket
import subprocess

from topology import BUILD, VPS4, VPS6, wait_for


class Daemon:
    """One of the two: its namespace, configuration, log and process."""

    def __init__(self, ns, program, tmp):
        self.ns, self.program = ns, BUILD / program
        self.config, self.log = tmp / f"{program}.conf", tmp / f"{program}.log"
        self.key, self.control = tmp / f"{program}.key", tmp / f"{program}.sock"
        self.process = None

    def make_key(self):
        """The pin the other side writes into its configuration."""
        if not self.key.exists():
            subprocess.run([self.program, "genkey", self.key], check=True, capture_output=True)
        out = subprocess.run([self.program, "pubkey", self.key], check=True, capture_output=True, text=True)
        return out.stdout.strip()

    def start(self):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = self.ns.popen([self.program, "run", "-c", self.config], stdout=log, stderr=log)
        return self.process

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def ask(self, *argv, **kw):
        """A verb of the program, about this daemon."""
        return self.ns.run([self.program, *argv, "-c", self.config], **kw)

    def status(self):
        """What `status --json` says, or None while nobody answers. Asked of the socket: a process for each question, a hundred
        times a second, is what a busy machine can do without."""
        text = b""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(str(self.control))
                s.sendall(b"status\n")
                while more := s.recv(1 << 18):
                    text += more
            answer = json.loads(text)
        except (OSError, ValueError):
            return None
        return None if "error" in answer else answer

    def logged(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def stop(self, number=signal.SIGTERM, deadline=10):
        """Ends it in order; its exit code."""
        if self.alive():
            self.process.send_signal(number)
            try:
                self.process.wait(deadline)
            except subprocess.TimeoutExpired:
                where = self.whereabouts()
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.program.name} did not end within {deadline} s: {where}\n{self.logged()[-4000:]}")
        return self.process.returncode if self.process else 0

    def whereabouts(self):
        """What the kernel knows of what it does: running or asleep, and in which call."""
        said = []
        for name in ("status", "syscall", "stack"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/{name}", encoding="ascii") as f:
                said.append(next(l for l in f if l.startswith("State")) if name == "status" else f.read())
        return "".join(said)

    def cpu_seconds(self):
        """User and system time so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def pss_kib(self):
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def connected(status):
    """Is the session with the remote up, and are its links usable?"""
    return bool(status and status.get("connected"))


class Pair:
    """local_extra and remote_extra are appended to the configurations; a key that is there already in
    its section is better replaced with local_set={"lan.rules": "nftables"}, remote_set=...; None drops it."""

    def __init__(self, topo, local_extra="", remote_extra="", local_set=None, remote_set=None, host=None,
                 wait=True):
        self.topo, self.wait = topo, wait
        self.local_extra, self.remote_extra = local_extra, remote_extra
        self.local_set, self.remote_set = local_set or {}, remote_set or {}
        self.host = host or (VPS4 if topo.ipv4 else VPS6)
        tmp = topo.new_dir("pair")
        self.local = Daemon(topo.gw, "plait-local", tmp)
        self.remote = Daemon(topo.vps, "plait-remote", tmp)

    def _local_config(self, pin):
        config = {"vps": {"host": self.host, "port": 7200, "key": pin},
                  "local": {"key_file": self.local.key, "control": self.local.control, "log": "debug"},
                  "lan": {"device": "lan0", "rules_dir": self.topo.rules_dir()}}
        for line in self.topo.line:
            config[f"link {line.device}"] = {"device": line.device}
        return config

    def _remote_config(self, pin):
        return {"listen": {"port": 7200},
                "remote": {"key_file": self.remote.key, "control": self.remote.control, "log": "debug"},
                "tunnel": {"rules_dir": self.topo.rules_dir()},
                "user home": {"key": pin}}

    @staticmethod
    def _write(path, config, changes, extra):
        for name, value in changes.items():
            section, key = name.rsplit(".", 1)
            config.setdefault(section, {})[key] = value
        text = ""
        for section, values in config.items():
            text += f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items() if v is not None) + "\n"
        path.write_text(text + extra, encoding="utf-8")

    def write_configs(self):
        self._write(self.local.config, self._local_config(self.remote.make_key()), self.local_set, self.local_extra)
        self._write(self.remote.config, self._remote_config(self.local.make_key()), self.remote_set,
                    self.remote_extra)

    def start(self):
        self.write_configs()
        try:
            self.start_remotes()
            self.local.start()
            if self.wait:
                self.wait_connected()
        except BaseException:
            self.kill()  # what is left running would be in the way of every test that follows
            raise
        return self

    def kill(self):
        for d in (self.local, self.remote):
            if d.alive():
                d.process.kill()
                d.process.wait()

    def start_remotes(self):
        self.remote.start()

    def wait_connected(self):
        def up():
            for d in (self.local, self.remote):
                assert d.alive(), f"{d.program.name} ended with {d.process.returncode}\n{d.logged()[-4000:]}"
            return connected(self.local.status())
        try:
            wait_for(up, "plait-local connected")
        except AssertionError as e:
            logs = "".join(f"--- {d.program.name}\n{d.logged()[-3000:]}" for d in (self.local, self.remote))
            raise AssertionError(f"{e}\n{logs}") from e

    def stop(self):
        """SIGTERM to both; both must end in order, with exit code 0 and without a sanitizer's report."""
        codes = {d.program.name: d.stop() for d in (self.local, self.remote)}
        for d in (self.local, self.remote):
            log = d.logged()
            assert codes[d.program.name] == 0, f"{d.program.name}: exit {codes[d.program.name]}\n{log[-4000:]}"
            assert "Sanitizer" not in log and "runtime error:" not in log, log[-8000:]

    __enter__ = start

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
            return
        self.kill()  # a failure is being reported already
        for d in (self.local, self.remote):
            print(f"--- {d.program.name}\n{d.logged()[-4000:]}")
