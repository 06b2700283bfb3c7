//! Windows events, whoever shipped them: Sigma's native fields and log source.
//!
//! The same event reaches us as EVTX, as `evtx_dump`'s JSON of it (`Event.System...`), from Winlogbeat and Elastic's agent
//! (`winlog.event_data...`), from OpenTelemetry's receiver `windowseventlog` (`event_data...`), and flat from NXLog, Fluent
//! Bit and converters (`Channel` and `EventID` beside the data). Rules are written in the names of the event itself: elements
//! of `System` (`EventID`, `Channel`, `Provider_Name`: an attribute stands behind its element's name) and the names in
//! `EventData` or `UserData`, without blanks (`ThreatName`). [`recognise`] gives each event these names; what fits none of
//! them keeps the name that its shipper gave it.
//!
//! - **Log source**: product `windows`; the service is the channel's ([`SERVICES`], the names of SigmaHQ's specification);
//!   the category follows from the number of the event ([`category`]). One event has all three.
//! - **Process creation** (Security 4688) gets Sysmon's names beside its own: `Image`, `ParentImage`, `User`, `IntegrityLevel`.
//!   Its `ProcessId` is the parent's and stays.
//! - **Malware found** (Defender) gets the names of Sigma's antivirus rules: `Signature`, `Filename`.
//! - A data name with blanks stands without them and, since rules have it both ways, with underscores as well.
//!
//! Limits: those of the fields' parser. What has no channel or no number is not touched; the look costs a comparison of
//! lengths for each field.

use std::borrow::Cow;

use super::fields::Fields;
use crate::{LogSource, Value};

/// Sigma's services by channel, the frequent ones first.
const SERVICES: [(&str, &str); 68] = [
    ("Security", "security"),
    (SYSMON, "sysmon"),
    ("System", "system"),
    ("Application", "application"),
    ("Microsoft-Windows-PowerShell/Operational", "powershell"),
    ("PowerShellCore/Operational", "powershell"),
    ("Windows PowerShell", "powershell-classic"),
    ("Microsoft-Windows-Windows Defender/Operational", "windefend"),
    ("Microsoft-Windows-TaskScheduler/Operational", "taskscheduler"),
    ("Microsoft-Windows-WMI-Activity/Operational", "wmi"),
    ("Microsoft-Windows-AppLocker/EXE and DLL", "applocker"),
    ("Microsoft-Windows-AppLocker/MSI and Script", "applocker"),
    ("Microsoft-Windows-AppLocker/Packaged app-Deployment", "applocker"),
    ("Microsoft-Windows-AppLocker/Packaged app-Execution", "applocker"),
    ("Microsoft-Windows-AppModel-Runtime/Admin", "appmodel-runtime"),
    ("Microsoft-Windows-AppXDeploymentServer/Operational", "appxdeployment-server"),
    ("Microsoft-Windows-AppxPackaging/Operational", "appxpackaging-om"),
    ("Microsoft-Windows-Application-Experience/Program-Telemetry", "application-experience"),
    ("Microsoft-Windows-Application-Experience/Program-Compatibility-Assistant", "application-experience"),
    ("Microsoft-Windows-Bits-Client/Operational", "bits-client"),
    ("Microsoft-Windows-CAPI2/Operational", "capi2"),
    (
        "Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational",
        "certificateservicesclient-lifecycle-system",
    ),
    ("Microsoft-Windows-CodeIntegrity/Operational", "codeintegrity-operational"),
    ("Microsoft-Windows-Dhcp-Client/Admin", "dhcp-client"),
    ("Microsoft-Windows-DHCP-Server/Operational", "dhcp"),
    ("DhcpAdminEvents", "dhcp"),
    ("Microsoft-Windows-Diagnosis-Scripted/Operational", "diagnosis-scripted"),
    ("Microsoft-Windows-DNS Client Events/Operational", "dns-client"),
    ("Microsoft-Windows-DNS-Client/Operational", "dns-client"),
    ("DNS Server", "dns-server"),
    ("Microsoft-Windows-DNS-Server/Analytical", "dns-server-analytic"),
    ("Microsoft-Windows-DNSServer/Analytical", "dns-server-analytic"),
    ("Microsoft-Windows-DNS-Server/Audit", "dns-server-audit"),
    ("Microsoft-Windows-DNSServer/Audit", "dns-server-audit"),
    ("Microsoft-Windows-DriverFrameworks-UserMode/Operational", "driver-framework"),
    ("Microsoft-Windows-Windows Firewall With Advanced Security/Firewall", "firewall-as"),
    ("Microsoft-Windows-Hyper-V-Worker-Admin", "hyper-v-worker"),
    ("Microsoft-IIS-Configuration/Operational", "iis-configuration"),
    ("Microsoft-Windows-Kernel-EventTracing/Admin", "kernel-event-tracing"),
    ("Microsoft-Windows-Kernel-ShimEngine/Operational", "kernel-shimengine"),
    ("Microsoft-Windows-Kernel-ShimEngine/Diagnostic", "kernel-shimengine"),
    ("Microsoft-Windows-LDAP-Client/Debug", "ldap"),
    ("Microsoft-Windows-LSA/Operational", "lsa-server"),
    ("Microsoft-ServiceBus-Client", "microsoft-servicebus-client"),
    ("Microsoft-ServiceBus-Client/Operational", "microsoft-servicebus-client"),
    ("Microsoft-ServiceBus-Client/Admin", "microsoft-servicebus-client"),
    ("MSExchange Management", "msexchange-management"),
    ("Microsoft-Windows-Ntfs/Operational", "ntfs"),
    ("Microsoft-Windows-NTLM/Operational", "ntlm"),
    ("OpenSSH/Operational", "openssh"),
    ("Microsoft-Windows-PrintService/Admin", "printservice-admin"),
    ("Microsoft-Windows-PrintService/Operational", "printservice-operational"),
    ("Microsoft-Windows-Security-Mitigations/KernelMode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/UserMode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/Kernel Mode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/User Mode", "security-mitigations"),
    ("Microsoft-Windows-SENSE/Operational", "sense"),
    ("Microsoft-Windows-Shell-Core/Operational", "shell-core"),
    ("Microsoft-Windows-SmbClient/Audit", "smbclient-audit"),
    ("Microsoft-Windows-SmbClient/Connectivity", "smbclient-connectivity"),
    ("Microsoft-Windows-SmbClient/Operational", "smbclient-operational"),
    ("Microsoft-Windows-SmbClient/Security", "smbclient-security"),
    ("Microsoft-Windows-SMBServer/Audit", "smbserver-audit"),
    ("Microsoft-Windows-SMBServer/Connectivity", "smbserver-connectivity"),
    ("Microsoft-Windows-SMBServer/Operational", "smbserver-operational"),
    (
        "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",
        "terminalservices-localsessionmanager",
    ),
    ("Microsoft-Windows-VHDMP/Operational", "vhdmp"),
    ("Microsoft-Windows-WinRM/Operational", "winrm"),
];

/// Sysmon's channel. Collectors that keep an event's provider but not its channel are told by the provider.
const SYSMON: &str = "Microsoft-Windows-Sysmon/Operational";

/// Names of `System` as shippers give them, and as the event has them.
const WINLOGBEAT: [(&str, &str); 17] = [
    ("winlog.channel", "Channel"),
    ("winlog.event_id", "EventID"),
    ("winlog.provider_name", "Provider_Name"),
    ("winlog.provider_guid", "Provider_Guid"),
    ("winlog.computer_name", "Computer"),
    ("winlog.record_id", "EventRecordID"),
    ("winlog.version", "Version"),
    ("winlog.task", "Task"),
    ("winlog.opcode", "Opcode"),
    ("winlog.keywords", "Keywords"),
    ("winlog.process.pid", "Execution_ProcessID"),
    ("winlog.process.thread.id", "Execution_ThreadID"),
    ("winlog.user.identifier", "Security_UserID"),
    ("winlog.activity_id", "Correlation_ActivityID"),
    ("winlog.related_activity_id", "Correlation_RelatedActivityID"),
    ("log.level", "Level"),
    ("message", "Message"),
];
const OPENTELEMETRY: [(&str, &str); 21] = [
    ("channel", "Channel"),
    ("event_id", "EventID"),
    ("event_id.id", "EventID"),
    ("event_id.qualifiers", "EventID_Qualifiers"),
    ("provider.name", "Provider_Name"),
    ("provider.guid", "Provider_Guid"),
    ("provider.event_source", "Provider_EventSourceName"),
    ("computer", "Computer"),
    ("record_id", "EventRecordID"),
    ("version", "Version"),
    ("level", "Level"),
    ("task", "Task"),
    ("opcode", "Opcode"),
    ("keywords", "Keywords"),
    ("system_time", "TimeCreated_SystemTime"),
    ("message", "Message"),
    ("security.user_id", "Security_UserID"),
    ("execution.process_id", "Execution_ProcessID"),
    ("execution.thread_id", "Execution_ThreadID"),
    ("correlation.activity_id", "Correlation_ActivityID"),
    ("correlation.related_activity_id", "Correlation_RelatedActivityID"),
];
/// Levels in words, and the numbers that the event has.
const LEVELS: [(&str, i64); 5] =
    [("critical", 1), ("error", 2), ("warning", 3), ("information", 4), ("verbose", 5)];

/// Integrity levels (S-1-16-...) by their last part, in Sysmon's words.
const INTEGRITY: [(&str, &str); 6] = [
    ("S-1-16-0", "Untrusted"),
    ("S-1-16-4096", "Low"),
    ("S-1-16-8192", "Medium"),
    ("S-1-16-8448", "Medium"),
    ("S-1-16-12288", "High"),
    ("S-1-16-16384", "System"),
];

/// How a shipper writes the event.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `Event.System.Channel`, with `#attributes` and `#text`.
    Nested,
    Winlogbeat,
    OpenTelemetry,
    /// Everything beside one another.
    Flat,
}

/// Gives a Windows event its native names, and says its log source; leaves any other as it is. Says as well whether all fields
/// are still there: those that tell of the XML alone (namespaces) are not kept.
pub(super) fn recognise(fields: &mut Fields<'_>) -> (LogSource<'static>, bool) {
    let shape = fields.0.iter().find_map(|(name, _)| shape(name));
    let Some(shape) = shape.filter(|shape| shape.is_sure(fields)) else {
        return (LogSource::default(), true);
    };
    let before = fields.0.len();
    fields.0.retain_mut(|(name, value)| {
        let is_kept = shape.rename(name);
        if name == "Level" {
            level(value);
        }
        is_kept
    });
    let are_all = fields.0.len() == before;
    (complete(fields), are_all)
}

/// The shape of which the name of a channel tells.
fn shape(name: &str) -> Option<Shape> {
    match name {
        "Channel" => Some(Shape::Flat),
        "channel" => Some(Shape::OpenTelemetry),
        "winlog.channel" => Some(Shape::Winlogbeat),
        "Event.System.Channel" => Some(Shape::Nested),
        _ => None,
    }
}

impl Shape {
    /// Whether an event that has a channel has a number as well: other programs have channels, too.
    fn is_sure(self, fields: &Fields<'_>) -> bool {
        let numbers: &[&str] = match self {
            Self::Nested => &["Event.System.EventID", "Event.System.EventID.#text"],
            Self::Winlogbeat => &["winlog.event_id"],
            Self::OpenTelemetry => &["event_id.id", "event_id"],
            Self::Flat => &["EventID", "EventId"],
        };
        fields.0.iter().any(|(name, _)| numbers.contains(&&**name))
    }

    /// Gives the native name; false where the field says nothing about the event.
    fn rename(self, name: &mut Cow<'_, str>) -> bool {
        let (prefixes, table): (&[&str], &[(&str, &str)]) = match self {
            Self::Nested => return rename_nested(name),
            Self::Winlogbeat => (&["winlog.event_data.", "winlog.user_data."], &WINLOGBEAT),
            // `data.` where the receiver writes the data as a list.
            Self::OpenTelemetry => (&["event_data.data.", "event_data.", "user_data."], &OPENTELEMETRY),
            Self::Flat => return rename_flat(name),
        };
        if let Some(prefix) = prefixes.iter().find(|prefix| name.starts_with(**prefix)) {
            cut_front(name, prefix.len());
            if **name == *"data" {
                *name = Cow::Borrowed("Data");
            }
        } else if let Some((_, native)) = table.iter().find(|(shipped, _)| *shipped == &**name) {
            *name = Cow::Borrowed(native);
        }
        true
    }
}

fn rename_flat(name: &mut Cow<'_, str>) -> bool {
    *name = Cow::Borrowed(match &**name {
        "SourceName" | "ProviderName" => "Provider_Name",
        "ProviderGuid" => "Provider_Guid",
        "Hostname" | "ComputerName" => "Computer",
        "RecordNumber" | "EventRecordId" => "EventRecordID",
        "EventId" => "EventID",
        "OpcodeValue" => "Opcode",
        "UserId" => "Security_UserID",
        "ActivityID" => "Correlation_ActivityID",
        _ => return true,
    });
    true
}

/// `Event.System.Provider.#attributes.Name` ─▶ `Provider_Name`, `Event.EventData.Image` ─▶ `Image`,
/// `Event.UserData.EventXML.User` ─▶ `User`. Namespaces of the XML are no part of the event.
fn rename_nested(name: &mut Cow<'_, str>) -> bool {
    let Some(inner) = name.strip_prefix("Event.") else { return true };
    let inner = match inner.split_once('.') {
        Some(("System" | "EventData", data)) => data,
        Some(("UserData", data)) => data.split_once('.').map_or(data, |(_, data)| data),
        Some(("#attributes", _)) => return false,
        _ => inner,
    };
    let front = name.len().saturating_sub(inner.len());
    cut_front(name, front);
    if !name.contains('#') {
        return true;
    }
    let native = match name.split_once(".#attributes.") {
        Some((_, "xmlns")) => return false,
        Some((element, attribute)) => format!("{element}_{attribute}"),
        None if name.starts_with("#attributes") => return false,
        None => name.strip_suffix(".#text").unwrap_or(name).to_owned(),
    };
    *name = Cow::Owned(native);
    true
}

fn cut_front(name: &mut Cow<'_, str>, bytes: usize) {
    match name {
        Cow::Borrowed(text) => *text = text.get(bytes..).unwrap_or_default(),
        Cow::Owned(text) => drop(text.drain(..bytes.min(text.len()))),
    }
}

fn number(value: &mut Value<'_>) {
    if let Some(number) = value.as_text().and_then(|text| text.parse().ok()) {
        *value = Value::Int(number);
    }
}

fn level(value: &mut Value<'_>) {
    let Some(text) = value.as_text() else { return };
    if let Some((_, number)) = LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        *value = Value::Int(*number);
    }
}

/// What native fields still lack: names without blanks, the names of other sources that rules read; and the log source.
pub(super) fn complete(fields: &mut Fields<'_>) -> LogSource<'static> {
    plain_names(fields);
    complete_plain(fields)
}

/// The same, of fields whose names have no blanks.
pub(super) fn complete_plain(fields: &mut Fields<'_>) -> LogSource<'static> {
    let service = service(fields);
    let id = fields.0.iter_mut().find(|(name, _)| name == "EventID").and_then(|(_, value)| {
        number(value);
        if let Value::Int(id) = value { Some(*id) } else { None }
    });
    let category = category(service, id.unwrap_or_default(), fields);
    match (service, category) {
        ("security", "process_creation") => process_creation(fields),
        (_, "antivirus") => {
            alias(fields, "Signature", "ThreatName");
            alias(fields, "Filename", "Path");
        }
        _ => {}
    }
    LogSource { category, product: "windows", service }
}

/// The service of the channel; empty where Sigma has no name for it.
fn service(fields: &Fields<'_>) -> &'static str {
    let channel = fields.find("Channel").unwrap_or_default();
    let known = SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(channel));
    match (known, fields.find("Provider_Name")) {
        (Some((_, service)), _) => service,
        (None, Some("Microsoft-Windows-Sysmon")) => "sysmon",
        _ => "",
    }
}

/// Sigma's category of an event; empty where it has none.
fn category(service: &str, id: i64, fields: &Fields<'_>) -> &'static str {
    match (service, id) {
        ("sysmon", 12) => match fields.find("EventType") {
            Some("CreateKey") => "registry_add",
            Some("DeleteKey" | "DeleteValue") => "registry_delete",
            _ => "registry_event",
        },
        ("sysmon", _) => sysmon_category(id),
        ("security", 4688) => "process_creation",
        ("powershell", 4103) => "ps_module",
        ("powershell", 4104) => "ps_script",
        ("powershell-classic", 400) => "ps_classic_start",
        ("powershell-classic", 600) => "ps_classic_provider_start",
        ("powershell-classic", 800) => "ps_classic_script",
        ("windefend", 1006..=1009 | 1015 | 1116..=1119) => "antivirus",
        ("", _) if fields.find("Provider_Name") == Some("Microsoft-Windows-Kernel-File") => match id {
            12 => "file_access",
            19 | 27 => "file_rename",
            _ => "",
        },
        _ => "",
    }
}

fn sysmon_category(id: i64) -> &'static str {
    match id {
        1 => "process_creation",
        2 => "file_change",
        3 => "network_connection",
        4 | 16 => "sysmon_status",
        5 => "process_termination",
        6 => "driver_load",
        7 => "image_load",
        8 => "create_remote_thread",
        9 => "raw_access_thread",
        10 => "process_access",
        11 => "file_event",
        13 => "registry_set",
        14 => "registry_rename",
        15 => "create_stream_hash",
        17 | 18 => "pipe_created",
        19..=21 => "wmi_event",
        22 => "dns_query",
        23 | 26 => "file_delete",
        24 => "clipboard_capture",
        25 => "process_tampering",
        27 => "file_block_executable",
        28 => "file_block_shredding",
        29 => "file_executable_detected",
        255 => "sysmon_error",
        _ => "",
    }
}

/// `Threat Name` ─▶ `ThreatName` and `Threat_Name`.
fn plain_names(fields: &mut Fields<'_>) {
    let mut underscored = Vec::new();
    for (name, value) in fields.0.iter_mut().filter(|(name, _)| has_blank(name)) {
        underscored.push((Cow::Owned(name.replace(' ', "_")), value.clone()));
        *name = Cow::Owned(name.replace(' ', ""));
    }
    fields.0.append(&mut underscored);
}

/// Names are short: words of them are looked at sooner than a search begins.
fn has_blank(name: &str) -> bool {
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let in_word = |word: &[u8; 8]| word.iter().fold(false, |any, byte| any | (*byte == b' '));
    words.iter().any(in_word) || rest.contains(&b' ')
}

/// Sysmon's names for what Security calls differently.
fn process_creation(fields: &mut Fields<'_>) {
    alias(fields, "Image", "NewProcessName");
    alias(fields, "ParentImage", "ParentProcessName");
    if let Some(label) = fields.find("MandatoryLabel") {
        let known = INTEGRITY.iter().find(|(sid, _)| *sid == label);
        if let Some((_, level)) = known {
            unless_known(fields, "IntegrityLevel", Value::Text(Cow::Borrowed(level)));
        }
    }
    if let Some(user) = account(fields, "Target").or_else(|| account(fields, "Subject")) {
        unless_known(fields, "User", Value::Text(Cow::Owned(user)));
    }
}

/// `DOMAIN\user`; `-` is nobody.
fn account(fields: &Fields<'_>, whose: &str) -> Option<String> {
    let part = |part: &str| fields.find(&format!("{whose}{part}")).filter(|text| !matches!(*text, "-" | ""));
    let user = part("UserName")?;
    Some(part("DomainName").map_or_else(|| user.to_owned(), |domain| format!("{domain}\\{user}")))
}

/// The value under a further name, unless that stands there already.
fn alias(fields: &mut Fields<'_>, name: &'static str, of: &str) {
    let value = fields.0.iter().find(|(known, _)| known == of).map(|(_, value)| value.clone());
    if let Some(value) = value {
        unless_known(fields, name, value);
    }
}

fn unless_known<'t>(fields: &mut Fields<'t>, name: &'static str, value: Value<'t>) {
    if !fields.0.iter().any(|(known, _)| known == name) {
        fields.0.push((Cow::Borrowed(name), value));
    }
}
