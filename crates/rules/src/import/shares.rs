//! Weights as percentages.

use super::yaml::Yaml;

/// Hundredths of a percent for each weight, which together are 100 %; and whether every one is exact.
pub fn percentages(weights: &[u64]) -> Option<(Vec<u64>, bool)> {
    const ALL: u64 = 10_000;
    let total: u64 = weights.iter().try_fold(0u64, |sum, weight| sum.checked_add(*weight))?;
    if total == 0 || total > u64::MAX / ALL {
        return None;
    }
    let mut shares: Vec<u64> = weights.iter().map(|weight| weight * ALL / total).collect();
    let exact = weights.iter().all(|weight| (weight * ALL).is_multiple_of(total));
    // What rounding down left goes to the largest remainders, as seats do.
    let mut missing = ALL - shares.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let remainder = |at: usize| weights.get(at).map_or(0, |weight| weight * ALL % total);
    order.sort_by_key(|at| std::cmp::Reverse(remainder(*at)));
    for at in order {
        if missing == 0 {
            break;
        }
        if let Some(share) = shares.get_mut(at) {
            *share += 1;
            missing -= 1;
        }
    }
    Some((shares, exact))
}

/// A share as a document writes it: `10`, `2.5`, `0.05`.
pub fn percent(hundredths: u64) -> Yaml {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    Yaml::Number(text.trim_end_matches('0').trim_end_matches('.').into())
}
