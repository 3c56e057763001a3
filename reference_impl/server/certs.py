"""Certificates of the tunnel: a private certificate authority, the server's certificate, and one device's.

Authentication is mutual: the device trusts only this authority, and the server
accepts only certificates that the authority has issued *for clients*. Keys are ECDSA on P-256.

Sources
-------
The origin's tunnel (docs/GLOSSARY.md): device certificates have the common name ``device-{uuid}``, a
client-auth extended key usage and one year of life.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

SERVER_NAME = "tunnel.headroom.internal"
AUTHORITY_NAME = "Headroom Device CA"
LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True)
class CertificateFiles:
    """Paths of the PEM files of a tunnel."""

    ca: Path
    server_cert: Path
    server_key: Path
    device_cert: Path
    device_key: Path


def issue_authority(*, name: str = AUTHORITY_NAME) -> Identity:
    """Create a new certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, life=10 * LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Identity(builder.sign(key, hashes.SHA256()), key)


def issue_server(authority: Identity, *, name: str = SERVER_NAME) -> Identity:
    """Issue a certificate for the tunnel's server."""
    names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
    return _issue(authority, name, ExtendedKeyUsageOID.SERVER_AUTH, names, life=LIFE)


def issue_device(authority: Identity, *, device_id: str = "reference", life: timedelta = LIFE) -> Identity:
    """Issue a certificate for a device; with a negative *life* it has expired already."""
    names: list[x509.GeneralName] = [x509.DNSName(f"{device_id}.device.headroom.internal")]
    name = f"device-{device_id}"
    return _issue(authority, name, ExtendedKeyUsageOID.CLIENT_AUTH, names, life=life)


def ensure_files(folder: Path) -> CertificateFiles:
    """Return the PEM files in *folder*; create all of them anew if one is missing or expires soon."""
    files = CertificateFiles(
        folder / "ca.pem",
        folder / "server.pem",
        folder / "server.key",
        folder / "device.pem",
        folder / "device.key",
    )
    if _is_fresh(files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    authority = issue_authority()
    server, device = issue_server(authority), issue_device(authority)
    files.ca.write_bytes(authority.certificate_pem())
    for identity, certificate, key in (
        (server, files.server_cert, files.server_key),
        (device, files.device_cert, files.device_key),
    ):
        certificate.write_bytes(identity.certificate_pem())
        key.touch(mode=0o600)
        key.write_bytes(identity.key_pem())
    return files


def _is_fresh(files: CertificateFiles) -> bool:
    if not all(path.exists() for path in vars(files).values()):
        return False
    ends = min(
        x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        for path in (files.ca, files.server_cert, files.device_cert)
    )
    return ends - datetime.now(UTC) > RENEW_BEFORE


def _issue(
    authority: Identity,
    name: str,
    usage: ObjectIdentifier,
    alternative_names: list[x509.GeneralName],
    *,
    life: timedelta,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key_id = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    builder = (
        _builder(_name(name), authority.certificate.subject, key, life=life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id),
            critical=False,
        )
    )
    return Identity(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begins = min(now, now + life) - CLOCK_SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(now + life)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
