//! Nanoseconds for each lookup of a host and of an address in an inventory of 100,000 entries, and how long it takes to read.
//!
//! `cargo bench -p tests --bench inventory`. The networks are of ten lengths, IPv4 and IPv6; half
//! of what is asked is not in the inventory.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::Result;
use collector::Inventory;

/// Systems, each with `EACH` hosts and as many addresses and networks.
const SYSTEMS: u32 = 5_000;
const EACH: u32 = 20;
const LOOKUPS: u32 = 2_000_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("systems.toml");
    std::fs::write(&path, inventory()?)?;
    let start = Instant::now();
    let inventory = Inventory::open(&path)?;
    println!(
        "read {} hosts, {} networks: {:.2} s",
        SYSTEMS * EACH,
        SYSTEMS * EACH,
        start.elapsed().as_secs_f64()
    );

    let hosts: Vec<String> =
        (0..2 * SYSTEMS * EACH).map(|number| format!("host{:06}", mixed(number))).collect();
    let addresses: Vec<Ipv6Addr> = (0..2 * SYSTEMS * EACH).map(|number| address(mixed(number))).collect();
    measure("host", &hosts, |host| inventory.by_host(host).is_some());
    measure("address", &addresses, |address| inventory.by_address(*address).is_some());
    Ok(())
}

fn measure<T>(what: &str, asked: &[T], find: impl Fn(&T) -> bool) {
    let start = Instant::now();
    let found = asked.iter().cycle().take(LOOKUPS as usize).filter(|one| find(black_box(*one))).count();
    let each = start.elapsed().as_nanos() / u128::from(LOOKUPS);
    println!("{what}: {each} ns a lookup, {:.0} % found", 100.0 * found as f64 / f64::from(LOOKUPS));
}

/// A number in another order, so that what is asked next does not lie beside what was asked last.
fn mixed(number: u32) -> u32 {
    let all = 2 * SYSTEMS * EACH;
    ((u64::from(number) * 7_919) % u64::from(all)) as u32
}

/// The address of an entry; those above the inventory's are in none of its networks.
fn address(number: u32) -> Ipv6Addr {
    if number.is_multiple_of(2) {
        Ipv4Addr::from(0x0a00_0000 + number * 64 + 1).to_ipv6_mapped()
    } else {
        Ipv6Addr::from((0x2001_0db8_u128 << 96) + (u128::from(number) << 64) + 1)
    }
}

/// The network of an entry, of one of ten lengths, that holds its address.
fn network(number: u32) -> String {
    let longer = number % 10 / 2;
    match address(number).to_ipv4_mapped() {
        Some(v4) => format!("{}/{}", Ipv4Addr::from(u32::from(v4) & !63), 26 + longer),
        None => format!("{}/{}", Ipv6Addr::from(address(number).to_bits() & !1), 64 + 8 * longer),
    }
}

fn inventory() -> Result<String> {
    let mut text = "[[organisation]]\nid = 'so'\nname = 'Sở'\n".to_owned();
    for system in 0..SYSTEMS {
        let entries = system * EACH..(system + 1) * EACH;
        let hosts: Vec<String> = entries.clone().map(|number| format!("'host{number:06}'")).collect();
        let networks: Vec<String> = entries.map(|number| format!("'{}'", network(number))).collect();
        write!(text, "[[system]]\nid = 's{system}'\nname = 's'\nowner = 'so'\noperator = 'so'\n")?;
        writeln!(text, "hosts = [{}]\nnetworks = [{}]", hosts.join(", "), networks.join(", "))?;
    }
    Ok(text)
}
