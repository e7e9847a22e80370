//! Whether distribution's tree is the truth: it was handed over, or its first import is not whole.

use uuid::Uuid;

use super::error::Error;
use super::transaction::{Transaction, sql, values};

/// Whether the tree is the truth.
pub(super) fn is_noted(tx: &Transaction) -> Result<bool, Error> {
    let tree = tx.ask(sql!("catalog/tree"), values![], |row| row.int(0))?;
    Ok(tree == Some(1))
}

/// Makes the tree the truth.
pub(super) fn note(tx: &Transaction) -> Result<(), Error> {
    tx.run(sql!("catalog/hand_over"), values![]).map(drop)
}

/// Makes the catalog the truth. It is another one from now on, for whoever follows its changes:
/// what an import found is not among them.
pub(super) fn end(tx: &Transaction) -> Result<(), Error> {
    let id = *Uuid::new_v4().as_bytes();
    tx.run(sql!("catalog/take_over"), values![&id[..]])
        .map(drop)
}
