"""The reverse proxy's file, run by nginx itself in front of a real worker: what may pass, what is cut off, and what is never logged."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.children import ends_with_parent
from tests.deploy.tools import DEPLOY, run, tool
from tests.reliability.postgres import free_port
from tests.reliability.running import RunningWorker
from tests.reliability.sender import datacenter_request

WORKER_NAME, DASHBOARD_NAME = "activity.example.com", "report.example.com"
NEWEST = 1_780_000_000_000


@dataclass(frozen=True)
class Proxied:
    """A running nginx and the worker behind it."""

    port: int
    folder: Path
    worker: RunningWorker

    def connect(self, name: str = WORKER_NAME, trusted: str = "tls/fullchain.pem", **limits: ssl.TLSVersion) -> ssl.SSLSocket:
        """A TLS connection; the certificate is checked."""
        context = ssl.create_default_context(cafile=str(self.folder / trusted))
        for limit, version in limits.items():
            setattr(context, limit, version)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname=name)

    def ask(self, request: bytes, name: str = WORKER_NAME) -> bytes:
        """Everything that comes back until the connection is closed."""
        with self.connect(name) as connection:
            return answered(connection, request)


def answered(connection: ssl.SSLSocket, request: bytes) -> bytes:
    connection.sendall(request)
    received = b""
    while part := connection.recv(65_536):
        received += part
    return received


def self_signed(folder: Path) -> None:
    """A certificate for both names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(WORKER_NAME), x509.DNSName(DASHBOARD_NAME)])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    certificate = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    folder.mkdir()
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(plain)


def placed(folder: Path, upstreams: str, ports: tuple[int, int], worker_port: int) -> Path:
    """The files of `deploy/nginx` where nginx would find them, with ports that the tests may use."""
    self_signed(folder / "tls")
    (folder / "dashboard.htpasswd").write_text("viewer:{PLAIN}open-sesame\n")
    ours = (DEPLOY / "nginx" / "uar.conf").read_text().replace("/etc/nginx/uar", str(folder))
    ours = ours.replace("listen 443", f"listen 127.0.0.1:{ports[0]}").replace("listen 80 ", f"listen 127.0.0.1:{ports[1]} ")
    (folder / "uar.conf").write_text(
        ours.replace("/dev/stdout", str(folder / "access.log")).replace("/dev/stderr", str(folder / "error.log"))
    )
    behind = (DEPLOY / "nginx" / upstreams).read_text()
    (folder / "upstreams.conf").write_text(
        behind.replace("worker:", "127.0.0.1:").replace("dashboard:", "127.0.0.1:").replace("8080", str(worker_port))
    )
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = f"pid {folder}/nginx.pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n{temporary}include {folder}/uar.conf;\n}}\n"
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    with RunningWorker(folder / "data") as worker:
        conf = placed(folder, "upstreams-host.conf", (port, free_port()), worker.port)
        shutil.chown(folder, "root") if folder.owner() == "root" else None
        process = subprocess.Popen(
            [tool("nginx", "nginx-light"), "-c", str(conf), "-e", str(folder / "error.log"), "-g", "daemon off; user root;"],
            preexec_fn=ends_with_parent(signal.SIGTERM),
        )
        try:
            deadline = time.monotonic() + 60
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.05)
            yield Proxied(port, folder, worker)
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize("upstreams", ["upstreams-host.conf", "upstreams-compose.conf"])
def test_nginx_accepts_the_file(tmp_path: Path, upstreams: str) -> None:
    conf = placed(tmp_path, upstreams, (free_port(), free_port()), 8080)
    done = run([tool("nginx", "nginx-light"), "-t", "-c", str(conf), "-e", str(tmp_path / "error.log")])
    assert done.returncode == 0, done.stderr


def test_nginx_refuses_a_misspelt_limit(tmp_path: Path) -> None:
    conf = placed(tmp_path, "upstreams-host.conf", (free_port(), free_port()), 8080)
    (tmp_path / "uar.conf").write_text((tmp_path / "uar.conf").read_text().replace("client_body_timeout", "client_body_limit"))
    assert run([tool("nginx", "nginx-light"), "-t", "-c", str(conf), "-e", str(tmp_path / "error.log")]).returncode != 0


def closing(request: bytes) -> bytes:
    """The same request with `Connection: close`."""
    return request.replace(b"\r\nHost: worker\r\n", f"\r\nHost: {WORKER_NAME}\r\nConnection: close\r\n".encode())


def test_a_signed_delivery_passes_and_is_acknowledged(proxied: Proxied) -> None:
    answer = proxied.ask(closing(datacenter_request(1, NEWEST)))
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"Strict-Transport-Security: max-age=63072000" in answer


def test_a_worker_that_is_away_is_502_until_it_is_back(proxied: Proxied) -> None:
    proxied.worker.terminate()
    assert proxied.ask(closing(datacenter_request(3, NEWEST))).startswith(b"HTTP/1.1 502 ")
    proxied.worker.start()
    assert proxied.ask(closing(datacenter_request(3, NEWEST))).startswith(b"HTTP/1.1 202 ")


def test_a_renewed_certificate_comes_by_a_reload_that_cuts_no_delivery(proxied: Proxied) -> None:
    tls, renewed = proxied.folder / "tls", proxied.folder / "renewed"
    self_signed(renewed)
    (proxied.folder / "both.pem").write_bytes((tls / "fullchain.pem").read_bytes() + (renewed / "fullchain.pem").read_bytes())
    seen: list[tuple[bytes | None, bytes]] = []

    def deliver(first: int) -> None:
        for number in range(first, first + 50):
            with proxied.connect(trusted="both.pem") as connection:
                certificate = connection.getpeercert(binary_form=True)
                seen.append((certificate, answered(connection, closing(datacenter_request(number, NEWEST)))[:13]))
                time.sleep(0.02)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(deliver, 1_000 * turn) for turn in range(1, 5)]
        time.sleep(0.3)
        for file in renewed.iterdir():
            file.replace(tls / file.name)
        os.kill(int((proxied.folder / "nginx.pid").read_text()), signal.SIGHUP)
        for one in done:
            one.result()
    assert {answer for _, answer in seen} == {b"HTTP/1.1 202 "}
    assert len(seen) == 200
    assert len({certificate for certificate, _ in seen}) == 2


def test_an_unsigned_delivery_gets_the_workers_401(proxied: Proxied) -> None:
    request = closing(datacenter_request(2, NEWEST)).replace(b"sha256=", b"sha256=0")
    assert proxied.ask(request).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/", "/webhooks"])
def test_what_is_for_the_inside_is_not_there_from_outside(proxied: Proxied, path: str) -> None:
    answer = proxied.ask(f"GET {path} HTTP/1.1\r\nHost: {WORKER_NAME}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 301 " if path == "/webhooks" else b"HTTP/1.1 404 "))


def test_the_dashboard_asks_for_a_password(proxied: Proxied) -> None:
    answer = proxied.ask(f"GET / HTTP/1.1\r\nHost: {DASHBOARD_NAME}\r\nConnection: close\r\n\r\n".encode(), DASHBOARD_NAME)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Basic" in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: activity.example.com\r\nContent-Length: 1048577\r\n\r\n", b"413"),
        (b"POST /webhooks/forge HTTP/1.1\r\nHost: activity.example.com\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n", b"400"),
        (b"POST /webhooks/forge HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (
            b"POST /webhooks/forge HTTP/1.1\r\nHost: activity.example.com\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            b"400",
        ),
        (b"POST /webhooks/forge HTTP/1.1\r\nHost: activity.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n", b"501"),
        (b"GET /webhooks/forge HTTP/9.9\r\nHost: activity.example.com\r\n\r\n", b"505"),
    ],
    ids=["too large", "100 kB header", "no host", "two lengths", "unknown coding", "HTTP/9.9"],
)
def test_what_is_malformed_never_reaches_the_worker(proxied: Proxied, head: bytes, status: bytes) -> None:
    answer = proxied.ask(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert answer.split(b" ")[1] == status


def test_senders_that_stop_half_way_are_cut_off_after_five_seconds(proxied: Proxied) -> None:
    half_a_head = b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: activ"
    half_a_body = b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: activity.example.com\r\nContent-Length: 50\r\n\r\n{"
    started_at = time.monotonic()
    with ThreadPoolExecutor() as both:
        answers = list(both.map(proxied.ask, (half_a_head, half_a_body)))
    assert 4 < time.monotonic() - started_at < 8
    assert all(answer == b"" or answer.startswith(b"HTTP/1.1 408 ") for answer in answers)


def test_a_flood_is_slowed_with_429_and_never_with_5xx(proxied: Proxied) -> None:
    with proxied.connect() as flood:
        # Not signed, so that each answer waits for nothing, and a slow disk does not slow the flood.
        request = datacenter_request(3, NEWEST).replace(b"Host: worker", f"Host: {WORKER_NAME}".encode()).replace(b"sha256=", b"sha256=0")
        received = b""
        flood.sendall(request * 900)
        while received.count(b"HTTP/1.1 ") < 900:
            part = flood.recv(1_000_000)
            assert part, "the flood was cut off"
            received += part
        statuses = {part[:3] for part in received.split(b"HTTP/1.1 ")[1:]}
    assert statuses == {b"401", b"429"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_tls_is_spoken(proxied: Proxied, version: ssl.TLSVersion) -> None:
    with proxied.connect(minimum_version=version, maximum_version=version) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(proxied: Proxied) -> None:
    with pytest.raises(ssl.SSLError):
        proxied.connect(minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_a_name_that_is_not_ours_gets_no_certificate(proxied: Proxied) -> None:
    with pytest.raises(ssl.SSLError):
        proxied.connect("example.net")


def test_a_token_in_the_address_is_in_no_log(proxied: Proxied) -> None:
    token = "marker-token-that-must-not-be-logged"
    head = f"POST /webhooks/connect/acme/page_viewed?token={token} HTTP/1.1\r\nHost: {WORKER_NAME}\r\nContent-Length: 0\r\n"
    proxied.ask(f"{head}Connection: close\r\n\r\n".encode())
    logged = "".join((proxied.folder / name).read_text() for name in ("access.log", "error.log"))
    assert "POST /webhooks/connect/acme/page_viewed" in logged
    assert token not in logged + proxied.worker.log_text()
