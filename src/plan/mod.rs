//! Pure planning: filters, scores, verdicts and their explanations.
