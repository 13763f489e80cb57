//! A `Project` to cells in an order; pure.
