//! What the fields of NetFlow 9 and IPFIX mean to us: of some hundreds of information elements (IANA's registry; NetFlow 9 has
//! the same numbers for nearly all of them) the few that a flow is made of. Everything else is passed over.
//!
//! What a device did to a packet after it saw it (addresses after NAT, marks, the way on) is none of them: a flow has the
//! addresses that were on the wire.

use netflow_parser::variable_versions::ipfix::lookup::{
    IANAIPFixField as Iana, IPFixField, ReverseInformationElement as Reverse,
};
use netflow_parser::variable_versions::v9::lookup::V9Field;

/// A field that a flow is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Element {
    SrcAddress,
    DstAddress,
    SrcPort,
    DstPort,
    Protocol,
    /// Type and code in one number.
    Icmp,
    IcmpType,
    IcmpCode,
    /// What the source sent; `rank` tells which of several counters of one record is the best.
    SrcOctets {
        rank: u8,
    },
    SrcPackets {
        rank: u8,
    },
    DstOctets {
        rank: u8,
    },
    DstPackets {
        rank: u8,
    },
    SrcFlags,
    DstFlags,
    StartUptime,
    EndUptime,
    Start,
    End,
    StartBeforeExport,
    EndBeforeExport,
    DurationMillis,
    DurationMicros,
    SystemStart,
    Vlan,
    Input,
    Output,
    EndReason,
    Interval,
    Taken,
    Skipped,
    Population,
    Sampler,
    Other,
}

/// Of this flow since its last record (octetDeltaCount): what a flow is made of.
pub(super) const DELTA: u8 = 4;
/// What the initiator or the responder sent, of devices that see both directions.
const SIDE: u8 = 3;
/// Since the flow began: right unless it has several records.
const TOTAL: u8 = 2;
/// As it left the device.
const POST: u8 = 1;

impl Element {
    /// A field of NetFlow 9.
    pub(super) fn v9(field: V9Field) -> Self {
        match u16::from(field) {
            1 => Self::SrcOctets { rank: DELTA },
            2 => Self::SrcPackets { rank: DELTA },
            4 => Self::Protocol,
            6 => Self::SrcFlags,
            7 => Self::SrcPort,
            8 | 27 => Self::SrcAddress,
            10 => Self::Input,
            11 => Self::DstPort,
            12 | 28 => Self::DstAddress,
            14 => Self::Output,
            21 => Self::EndUptime,
            22 => Self::StartUptime,
            23 => Self::SrcOctets { rank: POST },
            24 => Self::SrcPackets { rank: POST },
            32 | 139 => Self::Icmp,
            number => Self::v9_rare(number),
        }
    }

    fn v9_rare(number: u16) -> Self {
        match number {
            34 | 50 => Self::Interval,
            48 | 302 => Self::Sampler,
            58 | 243 => Self::Vlan,
            85 => Self::SrcOctets { rank: TOTAL },
            86 => Self::SrcPackets { rank: TOTAL },
            136 => Self::EndReason,
            150 | 152 | 154 | 156 => Self::Start,
            151 | 153 | 155 | 157 | 323 => Self::End,
            158 => Self::StartBeforeExport,
            159 => Self::EndBeforeExport,
            160 => Self::SystemStart,
            161 => Self::DurationMillis,
            162 => Self::DurationMicros,
            176 | 178 => Self::IcmpType,
            177 | 179 => Self::IcmpCode,
            231 => Self::SrcOctets { rank: SIDE },
            232 => Self::DstOctets { rank: SIDE },
            298 => Self::SrcPackets { rank: SIDE },
            299 => Self::DstPackets { rank: SIDE },
            305 | 309 => Self::Taken,
            306 => Self::Skipped,
            310 => Self::Population,
            _ => Self::Other,
        }
    }

    /// A field of IPFIX.
    pub(super) fn ipfix(field: IPFixField) -> Self {
        match field {
            IPFixField::IANA(field) => Self::iana(field),
            IPFixField::ReverseInformationElement(field) => Self::reverse(field),
            _ => Self::Other,
        }
    }

    fn iana(field: Iana) -> Self {
        match field {
            Iana::OctetDeltaCount => Self::SrcOctets { rank: DELTA },
            Iana::PacketDeltaCount => Self::SrcPackets { rank: DELTA },
            Iana::ProtocolIdentifier => Self::Protocol,
            Iana::TcpControlBits => Self::SrcFlags,
            Iana::SourceTransportPort => Self::SrcPort,
            Iana::DestinationTransportPort => Self::DstPort,
            Iana::SourceIpv4address | Iana::SourceIpv6address => Self::SrcAddress,
            Iana::DestinationIpv4address | Iana::DestinationIpv6address => Self::DstAddress,
            Iana::IngressInterface => Self::Input,
            Iana::EgressInterface => Self::Output,
            Iana::VlanId | Iana::Dot1qVlanId => Self::Vlan,
            Iana::IcmpTypeCodeIpv4 | Iana::IcmpTypeCodeIpv6 => Self::Icmp,
            Iana::IcmpTypeIpv4 | Iana::IcmpTypeIpv6 => Self::IcmpType,
            Iana::IcmpCodeIpv4 | Iana::IcmpCodeIpv6 => Self::IcmpCode,
            Iana::FlowEndReason => Self::EndReason,
            field => Self::iana_time(field),
        }
    }

    fn iana_time(field: Iana) -> Self {
        match field {
            Iana::FlowStartSysUpTime => Self::StartUptime,
            Iana::FlowEndSysUpTime => Self::EndUptime,
            Iana::FlowStartSeconds
            | Iana::FlowStartMilliseconds
            | Iana::FlowStartMicroseconds
            | Iana::FlowStartNanoseconds => Self::Start,
            Iana::FlowEndSeconds
            | Iana::FlowEndMilliseconds
            | Iana::FlowEndMicroseconds
            | Iana::FlowEndNanoseconds
            | Iana::ObservationTimeMilliseconds => Self::End,
            Iana::FlowStartDeltaMicroseconds => Self::StartBeforeExport,
            Iana::FlowEndDeltaMicroseconds => Self::EndBeforeExport,
            Iana::FlowDurationMilliseconds => Self::DurationMillis,
            Iana::FlowDurationMicroseconds => Self::DurationMicros,
            Iana::SystemInitTimeMilliseconds => Self::SystemStart,
            field => Self::iana_rare(field),
        }
    }

    fn iana_rare(field: Iana) -> Self {
        match field {
            Iana::PostOctetDeltaCount => Self::SrcOctets { rank: POST },
            Iana::PostPacketDeltaCount => Self::SrcPackets { rank: POST },
            Iana::OctetTotalCount => Self::SrcOctets { rank: TOTAL },
            Iana::PacketTotalCount => Self::SrcPackets { rank: TOTAL },
            Iana::InitiatorOctets => Self::SrcOctets { rank: SIDE },
            Iana::ResponderOctets => Self::DstOctets { rank: SIDE },
            Iana::InitiatorPackets => Self::SrcPackets { rank: SIDE },
            Iana::ResponderPackets => Self::DstPackets { rank: SIDE },
            Iana::SamplingInterval | Iana::SamplerRandomInterval => Self::Interval,
            Iana::SamplerId | Iana::SelectorId => Self::Sampler,
            Iana::SamplingPacketInterval | Iana::SamplingSize => Self::Taken,
            Iana::SamplingPacketSpace => Self::Skipped,
            Iana::SamplingPopulation => Self::Population,
            _ => Self::Other,
        }
    }

    /// The other direction of a biflow (RFC 5103 section 6.1).
    fn reverse(field: Reverse) -> Self {
        match field {
            Reverse::ReverseOctetDeltaCount => Self::DstOctets { rank: DELTA },
            Reverse::ReversePacketDeltaCount => Self::DstPackets { rank: DELTA },
            Reverse::ReverseOctetTotalCount => Self::DstOctets { rank: TOTAL },
            Reverse::ReversePacketTotalCount => Self::DstPackets { rank: TOTAL },
            Reverse::ReverseTcpControlBits => Self::DstFlags,
            _ => Self::Other,
        }
    }
}
