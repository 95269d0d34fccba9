//! A small chart of the last day, as SVG: no script, no style of its own.

use std::fmt::Write as _;

use super::history::{MOST, Moment};

const WIDTH: usize = 720;
const HEIGHT: usize = 120;
/// Moments in one step of a line: a line needs no more points than there are pixels.
const STEP: usize = 6;

/// Two charts, one above the other: messages in a minute, and the age of the oldest recipient that waits.
pub fn charts(moments: &[Moment]) -> String {
    let flow = |of: fn(&Moment) -> u64| steps(moments, of, |sum, count| sum.div_ceil(count));
    let (accepted, delivered) = (flow(|moment| moment.accepted), flow(|moment| moment.delivered));
    let oldest = steps(
        moments,
        |moment| moment.oldest_secs / 60,
        |sum, count| sum / count,
    );
    let means = format!("as means of {STEP} minutes");
    chart(
        &format!("In a minute, over the last day, {means}"),
        &[("accepted", &accepted), ("delivered", &delivered)],
    ) + &chart(
        &format!("Minutes that the oldest has waited, {means}"),
        &[("oldest", &oldest)],
    )
}

/// One number for every few moments, the last at the end.
fn steps(moments: &[Moment], of: fn(&Moment) -> u64, mean: fn(u64, u64) -> u64) -> Vec<u64> {
    let step = |step: &[Moment]| {
        let count = u64::try_from(step.len()).unwrap_or(1).max(1);
        mean(step.iter().map(of).sum(), count)
    };
    let mut found: Vec<u64> = moments.rchunks(STEP).map(step).collect();
    found.reverse();
    found
}

fn chart(title: &str, lines: &[(&str, &[u64])]) -> String {
    let top = lines.iter().flat_map(|(_, values)| values.iter().copied()).max();
    let top = top.unwrap_or(0).max(1);
    let mut svg = format!(
        "<figure><figcaption>{title}: at most {top}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\" preserveAspectRatio=\"none\">"
    );
    for (name, values) in lines {
        // Writing into a string never fails.
        let _ = write!(svg, "<path class=\"{name}\" d=\"{}\"/>", path(values, top));
    }
    svg += "</svg><p class=\"legend\">";
    for (name, _) in lines {
        let _ = write!(svg, "<span class=\"{name}\">{name}</span> ");
    }
    svg + "</p></figure>"
}

/// From the right edge, which is now, to the left.
fn path(values: &[u64], top: u64) -> String {
    let whole = MOST / STEP;
    let first = whole.saturating_sub(values.len());
    let y = |value: u64| {
        let share = u128::from(value) * (HEIGHT as u128 - 4) / u128::from(top);
        HEIGHT - 2 - usize::try_from(share).unwrap_or(0)
    };
    // A point alone is no line, and nothing would be seen of it.
    if let [alone] = values {
        return format!("M{} {}H{WIDTH}", WIDTH - 2 * WIDTH / whole, y(*alone));
    }
    let point = |(index, value): (usize, &u64)| {
        let x = (first + index + 1) * WIDTH / whole;
        format!("{}{x} {}", if index == 0 { "M" } else { "L" }, y(*value))
    };
    values.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_the_right_edge_and_its_highest_point_at_the_top() {
        assert_eq!(path(&[0, 5, 10], 10), "M714 118L717 60L720 2");
        assert_eq!(path(&[], 1), "");
        assert_eq!(path(&[5], 10), "M714 60H720");
        let long = path(&vec![u64::MAX; MOST / STEP], u64::MAX);
        assert!(long.starts_with("M3 2L6 2") && long.ends_with("L720 2"), "{long}");
    }

    #[test]
    fn moments_are_taken_together_from_the_last_one_back() {
        let moment = |accepted| Moment {
            accepted,
            delivered: 0,
            oldest_secs: 0,
        };
        let moments: Vec<Moment> = (1..=8).map(moment).collect();
        let sums = steps(&moments, |moment| moment.accepted, |sum, _| sum);
        assert_eq!(sums, [1 + 2, 3 + 4 + 5 + 6 + 7 + 8]);
    }
}
