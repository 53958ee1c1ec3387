#!/usr/bin/env python3
"""Makes rekeying.json and aead.json from the public AES-GCM cases of NIST and IEEE 802.1.

The cases are typed in below, with the tags that were published for them: those are computed once
more before anything is derived.

    pip install cryptography==48.0.0
    python3 vectors/generate_rekeying.py aead > vectors/aead.json
    python3 vectors/generate_rekeying.py rekeying > vectors/rekeying.json

The derivation is the one that gRPC's own tests use. A case of AES-128-GCM or AES-256-GCM becomes
one of ALTSRP_GCM_AES128_REKEY: its key is stretched to 44 bytes (`stretched`), and its nonce is
taken for a counter, of which bytes 2 to 7 select the AES key and all 12 are masked.
"""
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import reference

# McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, cases 1 to 4.
# NIST CAVP, gcmEncryptExtIV128.rsp (96-bit IV, no AAD, 128-bit tag), two of each length.
# Randall, Test vectors for MACsec, IEEE 802.1, bn-randall-test-vectors-0511-v1 (2011), 2.1 to 2.8.
ZERO = "00" * 16
FEFF = "feffe9928665731c6d6a8f9467308308"
CAFE = "cafebabefacedbaddecaf888"
FEED = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
D931 = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)


def macsec(last, number):
    """User data of the MACsec cases: an EtherType, bytes that count from 0f, a number."""
    return "0800" + bytes(range(0x0F, last + 1)).hex() + f"{number:04x}"


MACSEC = [
    # name, AES-128 key, AES-256 key, nonce, header, user data, encrypted, tag 128, tag 256
    ("2.1", "ad7a2bd03eac835a6f620fdcb506b345",
     "e3c08a8f06c6e3ad95a70557b23f75483ce33021a9c72b7025666204c69c0b72",
     "12153524c0895e81b2c28465", "d609b1f056637a0d46df998d88e5222ab2c2846512153524c0895e81",
     macsec(0x34, 1), False,
     "f09478a9b09007d06f46e9b6a1da25dd", "2f0bc5af409e06d609ea8b7d0fa5ea50"),
    ("2.2", "ad7a2bd03eac835a6f620fdcb506b345",
     "e3c08a8f06c6e3ad95a70557b23f75483ce33021a9c72b7025666204c69c0b72",
     "12153524c0895e81b2c28465", "d609b1f056637a0d46df998d88e52e00b2c2846512153524c0895e81",
     macsec(0x3A, 2), True,
     "4f8d55e7d3f06fd5a13c0c29b9d5b880", "5ca597cdbb3edb8d1a1151ea0af7b436"),
    ("2.3", "071b113b0ca743fecccf3d051f737382",
     "691d3ee909d7f54167fd1ca0b5d769081f2bde1aee655fdbab80bd5295ae6be7",
     "f0761e8dcd3d000176d457ed", "e20106d7cd0df0761e8dcd3d88e5400076d457ed",
     macsec(0x3A, 3), False,
     "0c017bc73b227dfcc9bafa1c41acc353", "35217c774bbc31b63166bcf9d4abed07"),
    ("2.4", "071b113b0ca743fecccf3d051f737382",
     "691d3ee909d7f54167fd1ca0b5d769081f2bde1aee655fdbab80bd5295ae6be7",
     "f0761e8dcd3d000176d457ed", "e20106d7cd0df0761e8dcd3d88e54c2a76d457ed",
     macsec(0x34, 4), True,
     "d6a5284f4a6d3fe22a5d6c2b960494c3", "12af39c2d1fdc2051f8b7b3c9d397ef2"),
    ("2.5", "013fe00b5f11be7f866d0cbbc55a7a90",
     "83c093b58de7ffe1c0da926ac43fb3609ac1c80fee1b624497ef942e2f79a823",
     "7cfde9f9e33724c68932d612", "84c5d513d2aaf6e5bbd2727788e523008932d6127cfde9f9e33724c6",
     macsec(0x3F, 5), False,
     "217867e50c2dad74c28c3b50abdf695a", "6ee160e8faeca4b36c86b234920ca975"),
    ("2.6", "013fe00b5f11be7f866d0cbbc55a7a90",
     "83c093b58de7ffe1c0da926ac43fb3609ac1c80fee1b624497ef942e2f79a823",
     "7cfde9f9e33724c68932d612", "84c5d513d2aaf6e5bbd2727788e52f008932d6127cfde9f9e33724c6",
     macsec(0x3B, 6), True,
     "bfd310a4837c816ccfa5ac23ab003988", "a10f4e05139c23df00b3aadc71f0596a"),
    ("2.7", "88ee087fd95da9fbf6725aa9d757b0cd",
     "4c973dbc7364621674f8b5b89e5c15511fced9216490fb1c1a2caa0ffe0407e5",
     "7ae8e2ca4ec500012e58495c", "68f2e77696ce7ae8e2ca4ec588e541002e58495c",
     macsec(0x4D, 7), False,
     "07922b8ebcf10bb2297588ca4c614523", "00bda1b7e87608bcbf470f12157f4c07"),
    ("2.8", "88ee087fd95da9fbf6725aa9d757b0cd",
     "4c973dbc7364621674f8b5b89e5c15511fced9216490fb1c1a2caa0ffe0407e5",
     "7ae8e2ca4ec500012e58495c", "68f2e77696ce7ae8e2ca4ec588e54d002e58495c",
     macsec(0x49, 8), True,
     "88f8757adb8aa788d8f65ad668be70e7", "2611cd7daa01d61c5c886dc1a8170107"),
]


def published():
    """name, key, nonce, AAD, plaintext, tag"""
    yield "GCM case 1", ZERO, "00" * 12, "", "", "58e2fccefa7e3061367f1d57a4e7455a"
    yield "GCM case 2", ZERO, "00" * 12, "", ZERO, "ab6e47d42cec13bdf53a67b21257bddf"
    yield "GCM case 3", FEFF, CAFE, "", D931, "4d5c2af327cd64a62cf35abd2ba6fab4"
    yield "GCM case 4", FEFF, CAFE, FEED, D931[:120], "5bc94fbc3221a5db94fae95ae7121a47"
    yield ("CAVP 0/a", "11754cd72aec309bf52f7687212e8957", "3c819d9a9bed087615030b65", "", "",
           "250327c674aaf477aef2675748cf6971")
    yield ("CAVP 0/b", "ca47248ac0b6f8372a97ac43508308ed", "ffd2b598feabc9019262d2be", "", "",
           "60d20404af527d248d893ae495707d1a")
    yield ("CAVP 128/a", "7fddb57453c241d03efbed3ac44e371c", "ee283a3fc75575e33efd4887", "",
           "d5de42b461646c255c87bd2962d3b9a2", "b36d1df9b9d5e596f83e8b7f52971cb3")
    yield ("CAVP 128/b", "ab72c77b97cb5fe9a382d9fe81ffdbed", "54cc7dc2c37ec006bcc6d1da", "",
           "007c5e5b3e59df24a7c355584fc1518d", "2b4401346697138c7a4891ee59867d0c")
    for name, key128, key256, nonce, header, data, encrypted, tag128, tag256 in MACSEC:
        aad, plaintext = (header, data) if encrypted else (header + data, "")
        yield f"MACsec {name}.1", key128, nonce, aad, plaintext, tag128
        yield f"MACsec {name}.2", key256, nonce, aad, plaintext, tag256


def cases():
    """The published cases as bytes, each computed once more."""
    for name, *rest in published():
        key, nonce, aad, plaintext, tag = map(bytes.fromhex, rest)
        sealed = AESGCM(key).encrypt(nonce, plaintext, aad)
        if sealed[-16:] != tag:
            sys.exit(f"{name}: the tag is not the published one")
        yield name, key, nonce, aad, plaintext, sealed


def aead():
    for name, key, nonce, aad, plaintext, sealed in cases():
        if len(key) == 16:
            yield {
                "name": name,
                "key": key.hex(),
                "nonce": nonce.hex(),
                "aad": aad.hex(),
                "plaintext": plaintext.hex(),
                "ciphertext": sealed[:-16].hex(),
                "tag": sealed[-16:].hex(),
            }


def stretched(key):
    """44 bytes: a key of 16 with all bytes XOR 1 behind it, then in both cases XOR 2."""
    middle = bytes(b ^ 1 for b in key) if len(key) == 16 else b""
    return (key + middle + bytes(b ^ 2 for b in key))[:44]


def with_flips():
    """The cases, and one of them with bits of the nonce flipped around the ends of the info."""
    for name, key, nonce, aad, plaintext, _ in cases():
        yield name, key, nonce, aad, plaintext
        if name == "GCM case 4":
            for bit in (15, 16, 63, 64):
                flipped = bytearray(nonce)
                flipped[bit // 8] ^= 1 << (7 if bit % 8 == 7 else 0)
                yield f"{name}, bit {bit} of the nonce flipped", key, bytes(flipped), aad, plaintext


def rekeying():
    for name, key, nonce, aad, plaintext in with_flips():
        key_data = stretched(key)
        aes_key = reference.record_key(key_data[:32], nonce)
        masked = reference.xor(nonce, key_data[32:])
        sealed = AESGCM(aes_key).encrypt(masked, plaintext, aad)
        # As a frame: ALTS has no AAD and has zeros in bytes 8 to 10 of its counter, and a side in
        # the 11th. What the nonce has there goes into the mask: then the client's frame with the
        # count of bytes 0 to 7 has the same AES key and the same masked nonce.
        mask = reference.xor(key_data[32:], bytes(8) + nonce[8:])
        count = int.from_bytes(nonce[:8], "little")
        frame_key_data = key_data[:32] + mask
        frame = reference.frame(
            "ALTSRP_GCM_AES128_REKEY", frame_key_data, count, "client", plaintext
        )
        assert frame[8:-16] == sealed[:-16]
        yield {
            "name": name,
            "key_data": key_data.hex(),
            "nonce": nonce.hex(),
            "aad": aad.hex(),
            "plaintext": plaintext.hex(),
            "aes_key": aes_key.hex(),
            "masked_nonce": masked.hex(),
            "ciphertext": sealed[:-16].hex(),
            "tag": sealed[-16:].hex(),
            "frame_key_data": frame_key_data.hex(),
            "frame_counter": str(count),
            "frame": frame.hex(),
        }


SOURCES = (
    "AES-GCM cases of McGrew and Viega (NIST), NIST CAVP, and IEEE 802.1 (MACsec, Randall 2011), "
    f"computed by vectors/generate_rekeying.py, {reference.LIBRARY}"
)
if sys.argv[1:] == ["aead"]:
    reference.write("aead", SOURCES, aead())
elif sys.argv[1:] == ["rekeying"]:
    reference.write("rekeying", SOURCES, rekeying())
else:
    sys.exit(f"usage: {sys.argv[0]} aead|rekeying")
