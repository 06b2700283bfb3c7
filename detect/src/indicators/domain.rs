//! Names of hosts. The key is the name in lower case without the dot at its end, a label that is not ASCII in Punycode
//! (RFC 3492) as DNS carries it; of IDNA's mappings only lower case and NFC are done.
//!
//! A single label is no indicator: `com` would match half of the world. `*.example.org` means what `example.org` means.

use unicode_normalization::UnicodeNormalization;

use super::IndicatorError;

/// Longest name and label of DNS, in bytes (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

pub(super) fn key(value: &str, out: &mut Vec<u8>) -> Result<(), IndicatorError> {
    let name = value.strip_prefix("*.").or_else(|| value.strip_prefix('.')).unwrap_or(value);
    let expected = "a domain of two labels or more such as example.org";
    append(name, out).ok_or(IndicatorError::Malformed { expected })
}

/// Appends a name as it is compared. `None`: it is none.
pub(super) fn append(name: &str, out: &mut Vec<u8>) -> Option<()> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let start = out.len();
    let mut count = 0_usize;
    for label in name.split('.') {
        if count > 0 {
            out.push(b'.');
        }
        count = count.saturating_add(1);
        append_label(label, out)?;
    }
    // The last label of a name is never a number: that is an address, or a version.
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = out.len().saturating_sub(start);
    (count >= 2 && !is_number && bytes <= NAME_BYTES_MAX).then_some(())
}

/// How many labels a key has.
pub(super) fn labels(key: &[u8]) -> usize {
    key.split(|byte| *byte == b'.').count()
}

/// The name and the names above it, of at most `labels_max` labels and at least two, the longest first.
pub(super) fn ends(key: &[u8], labels_max: usize) -> impl Iterator<Item = &[u8]> {
    let mut left = labels(key);
    let mut next = Some(key);
    std::iter::from_fn(move || {
        let end = next?;
        let dot = memchr::memchr(b'.', end);
        next = dot.and_then(|dot| end.get(dot.saturating_add(1)..));
        let count = left;
        left = left.saturating_sub(1);
        Some((count, end))
    })
    .skip_while(move |(count, _)| *count > labels_max)
    .take_while(|(count, _)| *count >= 2)
    .map(|(_, end)| end)
}

fn append_label(label: &str, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    if label.is_ascii() {
        out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        let label: Vec<char> = label.nfc().flat_map(char::to_lowercase).nfc().collect();
        out.extend_from_slice(b"xn--");
        punycode(&label, out)?;
    }
    let label = out.get(start..)?;
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(is_fit)).then_some(())
}

/// RFC 3492, section 6.3, with the parameters of section 5. A label that is longer than DNS allows is refused before the work
/// grows with its square.
fn punycode(label: &[char], out: &mut Vec<u8>) -> Option<()> {
    if label.len() > LABEL_BYTES_MAX {
        return None;
    }
    let basic = label.iter().filter_map(|char| u8::try_from(*char).ok()).filter(u8::is_ascii);
    let start = out.len();
    out.extend(basic);
    let basic = u32::try_from(out.len().checked_sub(start)?).ok()?;
    if basic > 0 {
        out.push(b'-');
    }
    let (mut handled, mut code, mut delta, mut bias) = (basic, 128_u32, 0_u32, 72_u32);
    while let Some(least) = label.iter().map(|char| u32::from(*char)).filter(|char| *char >= code).min() {
        delta = delta.checked_add(least.checked_sub(code)?.checked_mul(handled.checked_add(1)?)?)?;
        code = least;
        for char in label.iter().map(|char| u32::from(*char)) {
            if char < code {
                delta = delta.checked_add(1)?;
            } else if char == code {
                append_number(delta, bias, out)?;
                bias = adapted(delta, handled.checked_add(1)?, handled == basic)?;
                delta = 0;
                handled = handled.checked_add(1)?;
            }
        }
        delta = delta.checked_add(1)?;
        code = code.checked_add(1)?;
    }
    Some(())
}

/// A number in digits whose weight depends on the bias (RFC 3492, section 3.3).
fn append_number(mut number: u32, bias: u32, out: &mut Vec<u8>) -> Option<()> {
    let mut position = 36_u32;
    loop {
        let threshold = position.saturating_sub(bias).clamp(1, 26);
        if number < threshold {
            break;
        }
        let rest = number.checked_sub(threshold)?;
        let base = 36_u32.checked_sub(threshold)?;
        out.push(digit(threshold.checked_add(rest.checked_rem(base)?)?)?);
        number = rest.checked_div(base)?;
        position = position.checked_add(36)?;
    }
    out.push(digit(number)?);
    Some(())
}

fn digit(number: u32) -> Option<u8> {
    u8::try_from(char::from_digit(number.checked_add(10)?.checked_rem(36)?, 36)?).ok()
}

/// RFC 3492, section 6.1.
fn adapted(delta: u32, points: u32, is_first: bool) -> Option<u32> {
    let mut delta = if is_first { delta / 700 } else { delta / 2 };
    delta = delta.checked_add(delta.checked_div(points)?)?;
    let mut bias = 0_u32;
    while delta > 455 {
        delta /= 35;
        bias = bias.checked_add(36)?;
    }
    bias.checked_add(36_u32.checked_mul(delta)?.checked_div(delta.checked_add(38)?)?)
}
