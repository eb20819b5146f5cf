//! How a measure is spread over the tasks of a stage.

/// The quantiles that a summary shows: least, quarters, most.
pub const QUANTILES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The values at some quantiles: those of real tasks, none in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantiles {
    sorted: Vec<u64>,
}

impl Quantiles {
    /// The quantiles of these values, if there are any.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        (!values.is_empty()).then_some(Self { sorted: values })
    }

    /// The least value that is not below the share `quantile` of all values, as Spark's summary has it.
    pub fn at(&self, quantile: f64) -> u64 {
        let last = self.sorted.len() - 1;
        // Saturates: nothing outside of 0 to 1 has a meaning.
        let at = (quantile.clamp(0.0, 1.0) * self.sorted.len() as f64) as usize;
        self.sorted[at.min(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_are_there() {
        let quantiles = Quantiles::of(vec![5, 1, 4, 2, 3]).unwrap();
        assert_eq!(QUANTILES.map(|quantile| quantiles.at(quantile)), [1, 2, 3, 4, 5]);
        assert_eq!(Quantiles::of(vec![7]).unwrap().at(0.5), 7);
        assert_eq!(Quantiles::of(vec![1, 2]).unwrap().at(f64::NAN), 1);
        assert_eq!(Quantiles::of(Vec::new()), None);
    }
}
