//! Items as people read them.

/// Placeholder until the real one lands.
#[must_use]
pub fn diagnose(item: &[u8], chars_max: usize) -> String {
    item.iter()
        .take(chars_max / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
