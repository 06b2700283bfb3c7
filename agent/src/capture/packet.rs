//! AF_PACKET sockets and the memory that they share with the kernel: the agent's only module with `unsafe`.
//!
//! What leaves this file is safe: a socket closes itself, a mapping unmaps itself, and a block of the ring is lent only while
//! the kernel has left it to us. What the bytes of a block mean is `ring.rs`'s concern, in plain safe code. Layouts and
//! constants are those of `linux/if_packet.h` as the crate libc has them; the protocol is that of the kernel's
//! `Documentation/networking/packet_mmap.rst`, TPACKET_V3.
//!
//! Limits: [`BLOCK_BYTES`] a block, [`RING_MIB_RANGE`](crate::limits::RING_MIB_RANGE) blocks. What it never does: send a packet.
#![expect(unsafe_code, reason = "system calls that no safe crate offers; each block says why it is sound")]

use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::limits::{BLOCK_BYTES, BLOCK_RETIRE_MS, FRAME_BYTES_ROOM};

/// Where a block says whose it is.
const STATUS_AT: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);

/// A socket that sees whole frames of one interface, once it is bound.
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

/// What the kernel counted since it was asked last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Statistics {
    /// Packets for which there was no room.
    pub(super) drops: u64,
    /// How often the whole ring was full (a ring only).
    pub(super) freezes: u64,
}

impl PacketSocket {
    /// Needs the capability CAP_NET_RAW; nothing else here does. It sees nothing before [`PacketSocket::bind`].
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: a plain call without pointers.
        let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// A second descriptor of the same socket, for a library that closes its own.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Sees every packet of the interface of that index from now on. An interface that is down is an error of the socket,
    /// not of this call.
    pub(super) fn bind(&self, index: u32) -> io::Result<()> {
        // SAFETY: the all-zero value is a valid one of this C structure of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointer is to a live sockaddr_ll, and the length is its own.
        checked(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
    }

    /// The type of the bound interface's link (ARPHRD).
    pub(super) fn link_type(&self) -> io::Result<u16> {
        // SAFETY: the all-zero value is a valid one of this C structure of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let (to, fd) = ((&raw mut address).cast(), self.fd.as_raw_fd());
        // SAFETY: both pointers are to live values; the kernel writes at most `length` bytes, which is the structure's own.
        checked(unsafe { libc::getsockname(fd, to, &raw mut length) })?;
        Ok(address.sll_hatype)
    }

    /// Leaves out what this host sends: on a loopback interface every packet would be seen twice.
    pub(super) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
    }

    /// Sees what is not addressed to this host, too, for as long as the socket is open.
    pub(super) fn promiscuous(&self, index: u32) -> io::Result<()> {
        let mr_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        let mr_type = libc::PACKET_MR_PROMISC as u16;
        let membership = libc::packet_mreq { mr_ifindex, mr_type, mr_alen: 0, mr_address: [0; 8] };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
    }

    /// Asks for a receive buffer; beyond `net.core.rmem_max` only CAP_NET_ADMIN gets one.
    pub(super) fn receive_buffer(&self, bytes: usize) -> io::Result<()> {
        let bytes = c_int::try_from(bytes).map_err(io::Error::other)?;
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
    }

    /// What was counted since the last call.
    pub(super) fn statistics(&self) -> io::Result<Statistics> {
        // Without a ring the kernel writes the first two numbers only, which are the same.
        let none = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let found = self.option(libc::SOL_PACKET, libc::PACKET_STATISTICS, none)?;
        Ok(Statistics { drops: found.tp_drops.into(), freezes: found.tp_freeze_q_cnt.into() })
    }

    /// The error that waits at the socket, taken from it.
    pub(super) fn take_error(&self) -> io::Result<()> {
        match self.option(libc::SOL_SOCKET, libc::SO_ERROR, 0 as c_int)? {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Waits until there is something to read. False when there is nothing after so long; an interface that went away is an
    /// error.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut asked = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit_ms = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the pointer is to one live pollfd, and one is the count.
        match checked(unsafe { libc::poll(&raw mut asked, 1, limit_ms) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
            Ok(_) if asked.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 => {
                self.take_error()?;
                Ok(false)
            }
            Ok(ready) => Ok(ready > 0),
        }
    }

    /// Makes the ring: so many blocks of [`BLOCK_BYTES`]. The kernel has all of them at first.
    pub(super) fn ring(&self, blocks: usize) -> io::Result<Blocks> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        let wide = |number: usize| u32::try_from(number).map_err(io::Error::other);
        let request = libc::tpacket_req3 {
            tp_block_size: wide(BLOCK_BYTES)?,
            tp_block_nr: wide(blocks)?,
            tp_frame_size: wide(FRAME_BYTES_ROOM)?,
            tp_frame_nr: wide(BLOCK_BYTES / FRAME_BYTES_ROOM * blocks)?,
            tp_retire_blk_tov: BLOCK_RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses; it touches no memory of ours.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), BLOCK_BYTES * blocks, access, shared, self.fd.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave no address"))?;
        Ok(Blocks { start, count: blocks })
    }

    fn set<T: Copy>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        let (from, length) = ((&raw const *value).cast(), size_of::<T>() as libc::socklen_t);
        // SAFETY: the pointer is to a live value, and the length is its own; the kernel only reads it.
        checked(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, from, length) }).map(drop)
    }

    /// An option of plain integers; what the kernel does not write stays as it is given.
    fn option<T: Copy>(&self, level: c_int, name: c_int, mut value: T) -> io::Result<T> {
        let mut length = size_of::<T>() as libc::socklen_t;
        let to = (&raw mut value).cast();
        // SAFETY: both pointers are to live values, the kernel writes at most `length` bytes, and the callers' types
        // (integers, structures of integers) have no invalid bytes.
        checked(unsafe { libc::getsockopt(self.fd.as_raw_fd(), level, name, to, &raw mut length) })?;
        Ok(value)
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The ring's memory, block by block.
pub(super) struct Blocks {
    start: NonNull<u8>,
    count: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this value is its only owner.
unsafe impl Send for Blocks {}

impl Blocks {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The bytes of a block, when the kernel has left it to us.
    pub(super) fn block(&self, index: usize) -> Option<&[u8]> {
        if self.status(index)?.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let start = self.start_of(index)?;
        // SAFETY: `start_of` has checked that the block lies in the mapping, which lives as long as `self`. The kernel does
        // not write to a block that it has left to us before it gets it back, and that takes `&mut self`, which nobody has
        // while the slice is borrowed. The load above makes the kernel's writes visible.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), BLOCK_BYTES) })
    }

    /// Gives a block back to the kernel.
    pub(super) fn give_back(&mut self, index: usize) {
        if let Some(status) = self.status(index) {
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
    }

    fn start_of(&self, index: usize) -> Option<NonNull<u8>> {
        let at = (index < self.count).then(|| index * BLOCK_BYTES)?;
        // SAFETY: `index` is below `count`, so the block lies within the mapping of `count` blocks.
        Some(unsafe { self.start.add(at) })
    }

    fn status(&self, index: usize) -> Option<&AtomicU32> {
        let start = self.start_of(index)?;
        // SAFETY: the status lies within the block (a few bytes behind its start, far below BLOCK_BYTES) and is aligned to
        // four bytes: blocks are to a page, STATUS_AT is a C structure's own offset of a 32-bit field. The kernel accesses
        // it as a word, so it may only be seen as an atomic one; the slice of `block` does not outlive a change of it.
        Some(unsafe { AtomicU32::from_ptr(start.add(STATUS_AT).cast().as_ptr()) })
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `ring` made; every slice of it has borrowed `self` and is gone.
        let _unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), BLOCK_BYTES * self.count) };
    }
}
