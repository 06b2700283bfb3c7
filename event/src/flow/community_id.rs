//! Community ID version 1: one text by which all tools name the same flow.
//!
//! `1:` and the base64 of SHA-1 over seed 0, both addresses, the protocol, a zero byte and both ports, the lower end first.
//! Source: the specification at github.com/corelight/community-id-spec.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::key::is_paired;

/// The Community ID of a flow. Of ICMP the ports are type and code, or type and the answer's type.
pub fn community_id(src: (IpAddr, u16), dst: (IpAddr, u16), protocol: u8) -> String {
    let mut text = String::from("1:");
    STANDARD.encode_string(digest(src, dst, protocol), &mut text);
    text
}

fn digest(src: (IpAddr, u16), dst: (IpAddr, u16), protocol: u8) -> [u8; 20] {
    // What goes one way only is not turned.
    let in_order = src <= dst || !is_paired(protocol, src.1);
    let (low, high) = if in_order { (src, dst) } else { (dst, src) };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    for (address, _) in [low, high] {
        match address {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    hash.update([protocol, 0]);
    if has_ports(protocol) {
        hash.update(low.1.to_be_bytes());
        hash.update(high.1.to_be_bytes());
    }
    hash.finalize().into()
}

/// ICMP, TCP, UDP, ICMPv6, SCTP.
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 1 | 6 | 17 | 58 | 132)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the specification's baseline.
    #[test]
    fn agrees_with_the_specification() {
        for (src, src_port, dst, dst_port, protocol, expected) in [
            ("128.232.110.120", 34855, "66.35.250.204", 80, 6, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            ("192.168.1.52", 54585, "8.8.8.8", 53, 17, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            ("192.168.0.89", 8, "192.168.0.1", 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (
                "fe80::200:86ff:fe05:80da",
                135,
                "fe80::260:97ff:fe07:69ea",
                136,
                58,
                "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            ),
            ("192.168.170.8", 7, "192.168.170.56", 80, 132, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
        ] {
            let (src, dst) = ((src.parse().unwrap(), src_port), (dst.parse().unwrap(), dst_port));
            assert_eq!(community_id(src, dst, protocol), expected, "{src:?} {dst:?}");
            assert_eq!(community_id(dst, src, protocol), expected, "{dst:?} {src:?}");
        }
    }
}
