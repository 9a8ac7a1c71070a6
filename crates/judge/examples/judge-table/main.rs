//! False alarms and delays of the judge, as a table.

fn main() {}
