"""Where the key of an encrypted profile comes from, so that it never lies on disk as it is.

A profile is encrypted if its data folder has the file `encryption.json`: the key, sealed under a passphrase
(scrypt, RFC 7914; AES-256-GCM). Whoever has neither passphrase nor keyring nor a running resident has only noise.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.answer import Profile
from app.errors import BadInput, Locked
from retrieval.cipher import Key, needed
from retrieval.errors import EncryptionMissing, WrongKey

SLOT = "encryption.json"
PASSPHRASE = "LOCI_PASSPHRASE"
DESCRIPTOR = "LOCI_PASSPHRASE_FD"
"""Environment variable with the number of a file descriptor from which the passphrase is read, to its end."""

FORMAT = 1
COST = 1 << 17
"""Of scrypt with blocks of 8: 128 MiB of memory and about .4 s for each guess."""

_BLOCKS = 8
_MEMORY = 256 << 20
_SEALED = 60
"""Bytes of a sealed key: nonce, key, tag."""

_SERVICE = "loci"
"""What the OS keyring files keys under."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The content of `encryption.json`; bytes in hex."""

    key: str
    """`Key.id` of what is sealed"""
    sealed: str
    salt: str
    cost: int
    keyring: bool
    """whether the key is in the OS keyring as well"""
    format: int = FORMAT


class Keys:
    """The keys that this process knows, and the ways by which it comes to know one: the resident, which holds it in
    memory; the OS keyring; the passphrase from the environment or a descriptor; a person."""

    def __init__(self, ask: Callable[[str], str] | None = None) -> None:
        """`ask` puts a question to a person who answers unseen; None: there is nobody."""
        self.ask = ask
        self._known: dict[str, Key] = {}
        self._passphrases: list[str] = []

    def add(self, key: Key) -> None:
        self._known[key.id] = key

    def take_over(self, profile: Profile) -> None:
        """Know the key that the resident holds, if there is one, before it ends."""
        from app.resident.client import held_key

        if secret := held_key(profile):
            self.add(Key(secret))

    def of(self, profile: Profile) -> Key | None:
        """The key of `profile`; None where it is not encrypted.

        :raises Locked: nobody says the passphrase.
        :raises WrongKey: what was said is not it.
        :raises EncryptionMissing: the packages are not installed.
        """
        slot = read_slot(profile.data)
        if slot is None:
            return None
        for key in self._at_hand(slot, profile):
            if key.id == slot.key:
                self.add(key)
                return key
        key = self._by_passphrase(slot, profile)
        self.add(key)
        return key

    def _at_hand(self, slot: Slot, profile: Profile) -> Iterator[Key]:
        if slot.key not in self._known:
            self.take_over(profile)
        yield from self._known.values()
        if slot.keyring and (secret := _from_keyring(slot.key)):
            yield Key(secret)

    def _by_passphrase(self, slot: Slot, profile: Profile) -> Key:
        said = self.passphrases()
        if not said and self.ask is None:
            raise Locked(
                f"The profile {profile.name!r} is encrypted, and nobody can be asked for its passphrase here.",
                f"Give it in {PASSPHRASE}, or through a descriptor whose number is in {DESCRIPTOR}.",
            )
        for passphrase in said:
            with suppress(WrongKey):
                return _opened(slot, passphrase)
        if self.ask is not None:  # what was said may be of another profile, or of a backup's time
            typed = self.ask(f"Passphrase of the profile {profile.name}: ")
            with suppress(WrongKey):
                key = _opened(slot, typed)
                self._passphrases.append(typed)
                return key
        raise WrongKey(
            f"This is not the passphrase of the profile {profile.name!r}.", "Try again; it cannot be replaced."
        )

    def passphrases(self) -> list[str]:
        """Those that were given to this process, in the order of their use."""
        if number := os.environ.pop(DESCRIPTOR, None):  # it can be read once
            try:
                with os.fdopen(int(number), encoding="utf-8") as handle:
                    self._passphrases.append(handle.read().rstrip("\r\n"))
            except UnicodeDecodeError:
                raise BadInput(f"What {DESCRIPTOR}={number} gives is not valid UTF-8.") from None
            except (OSError, ValueError):
                raise BadInput(f"{DESCRIPTOR}={number} is no descriptor to read from.") from None
        if (given := os.environ.get(PASSPHRASE)) and given not in self._passphrases:
            self._passphrases.append(given)
        return self._passphrases


def is_encrypted(profile: Profile) -> bool:
    return (profile.data / SLOT).exists()


def read_slot(data: Path) -> Slot | None:
    """The slot of the profile whose data folder this is; None where it is not encrypted.

    :raises BadInput: the file is damaged, or of a newer version.
    """
    file = data / SLOT
    try:
        values = json.loads(file.read_bytes())
        if values["format"] > FORMAT:
            raise BadInput(f"{file} was written by a newer version of Loci.", "Update Loci.")
        slot = Slot(**values)
        _check(slot)
        return slot
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{file} is damaged: {error}. Without it the profile cannot be read.", "Take it from a backup."
        ) from None


def _check(slot: Slot) -> None:
    """:raises ValueError, TypeError: it is not as one was written."""
    if len(bytes.fromhex(slot.sealed)) != _SEALED or not bytes.fromhex(slot.salt):
        raise ValueError("the sealed key or its salt is cut short")
    if not 1 < slot.cost < _MEMORY // (128 * _BLOCKS) or slot.cost & (slot.cost - 1):  # RFC 7914, section 2
        raise ValueError(f"{slot.cost} is no cost of scrypt")


def write_slot(data: Path, key: Key, passphrase: str, *, keyring: bool) -> None:
    """Seal `key` under `passphrase` in the data folder; with `keyring`, hand it to the OS keyring as well.

    :raises BadInput: there is no keyring.
    """
    from app.files import private_file  # with SQLAlchemy, which a door that only asks does without

    salt = os.urandom(16).hex()
    slot = Slot(key.id, "", salt, COST, keyring)
    sealed = _under(passphrase, slot).seal(key.secret)
    if keyring:
        _to_keyring(key)
    with private_file(data / SLOT, force=True) as out:
        out.write(json.dumps(asdict(slot) | {"sealed": sealed.hex()}, indent=1).encode())


def _opened(slot: Slot, passphrase: str) -> Key:
    """:raises WrongKey: it is sealed under another passphrase."""
    return Key(_under(passphrase, slot).unseal(bytes.fromhex(slot.sealed)))


def _under(passphrase: str, slot: Slot) -> Key:
    salt = bytes.fromhex(slot.salt)
    plain = unicodedata.normalize("NFC", passphrase)  # keyboards differ in how they write one letter (RFC 8265, 4.2)
    derived = hashlib.scrypt(plain.encode(), salt=salt, n=slot.cost, r=_BLOCKS, p=1, maxmem=_MEMORY, dklen=32)
    return Key(derived)


def _from_keyring(id: str) -> bytes | None:
    with suppress(EncryptionMissing):  # on this machine there may be none
        keyring = needed("keyring", "keyring")
        with suppress(keyring.errors.KeyringError, ValueError):
            return bytes.fromhex(keyring.get_password(_SERVICE, id) or "")
    return None


def _to_keyring(key: Key) -> None:
    keyring = needed("keyring", "keyring")
    try:
        keyring.set_password(_SERVICE, key.id, key.secret.hex())
    except keyring.errors.KeyringError as error:
        raise BadInput(f"The OS keyring does not take the key: {error}.", "Leave out --keyring.") from None


def leave_keyring(slot: Slot) -> None:
    """Take a key that is used no more out of the OS keyring; where there is none, nothing is."""
    if slot.keyring:
        with suppress(EncryptionMissing):
            keyring = needed("keyring", "keyring")
            with suppress(keyring.errors.KeyringError):
                keyring.delete_password(_SERVICE, slot.key)
