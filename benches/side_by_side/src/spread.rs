//! A figure over rounds, and how numbers are shown.

/// A figure over rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// None of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { least, median, most })
    }

    /// The median and, in brackets, the least and the most.
    pub fn text(self, number: fn(f64) -> String, unit: &str) -> String {
        format!(
            "{}{unit} ({}–{})",
            number(self.median),
            number(self.least),
            number(self.most)
        )
    }
}

/// The first median by the second.
pub fn ratio([over, under]: [Option<Spread>; 2]) -> Option<String> {
    let (over, under) = over.zip(under)?;
    (under.median > 0.0).then(|| format!("{:.2}x", over.median / under.median))
}

/// A whole number with its thousands set apart.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About three significant digits.
pub fn short(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                least: 1.0,
                median: 2.5,
                most: 4.0
            }
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            ["7", "999", "1,000", "1,234,567"],
            [7.0, 999.0, 1e3, 1_234_567.0]
                .map(grouped)
                .each_ref()
                .map(String::as_str)
        );
    }
}
