//! Output descriptors: how an operator says where the reward goes.

use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::bip32::Xpriv;
use bitcoin::{Address, Network, PrivateKey, ScriptBuf};
use miniscript::{DefiniteDescriptorKey, Descriptor};
use thiserror::Error;

/// Why a descriptor is of no use for a payout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// `addr(…)` does not hold an address.
    #[error("`{address}` is no Bitcoin address; check for a typing error")]
    NotAnAddress {
        /// What stands there.
        address: String,
    },
    /// A private key stands where an address belongs.
    #[error(
        "a private key stands where an address belongs; give its address, and keep the key to yourself"
    )]
    PrivateKey,
    /// The address belongs to another chain.
    #[error(
        "address `{address}` is not of chain {}; use an address of that chain or change the chain",
        network.to_core_arg()
    )]
    OtherChain {
        /// The address.
        address: String,
        /// The chain that the pool is configured for.
        network: Network,
    },
    /// `raw(…)` does not hold hexadecimal digits.
    #[error("`raw({hex})` must hold a script in hexadecimal digits")]
    NotHex {
        /// What stands there.
        hex: String,
    },
    /// The script cannot be paid to.
    #[error("a payout needs a script that can be spent; this one is empty or provably unspendable")]
    Unspendable,
    /// Not a descriptor that gives one script.
    #[error(
        "`{descriptor}` is no descriptor of one output ({reason}); use addr(ADDRESS), raw(HEX), or a descriptor \
         such as wpkh(KEY) or tr(KEY) without a wildcard"
    )]
    Invalid {
        /// The descriptor, with private keys left out.
        descriptor: String,
        /// What the parser says.
        reason: String,
    },
}

/// The script that a descriptor stands for.
///
/// `addr(ADDRESS)`, a bare address, `raw(HEX)`, and every descriptor with a fixed key are understood. Checksums
/// (`#…`) are checked where given.
///
/// # Errors
/// [`DescriptorError`] when the text gives no single spendable script on `network`.
pub fn script_pubkey(descriptor: &str, network: Network) -> Result<ScriptBuf, DescriptorError> {
    let descriptor = descriptor.trim();
    let script = if let Some(address) = inner(descriptor, "addr") {
        address_script(address, network)?
    } else if let Some(hex) = inner(descriptor, "raw") {
        ScriptBuf::from_hex(hex).map_err(|_| DescriptorError::NotHex {
            hex: hex.to_owned(),
        })?
    } else if descriptor.contains('(') {
        let parsed = Descriptor::<DefiniteDescriptorKey>::from_str(descriptor);
        parsed
            .map_err(|error| invalid(descriptor, &error.to_string()))?
            .script_pubkey()
    } else {
        address_script(descriptor, network)?
    };
    if script.is_empty() || script.is_op_return() {
        return Err(DescriptorError::Unspendable);
    }
    Ok(script)
}

/// The script that pays to `address`.
///
/// # Errors
/// [`DescriptorError::NotAnAddress`] or [`DescriptorError::OtherChain`].
pub fn address_script(address: &str, network: Network) -> Result<ScriptBuf, DescriptorError> {
    let parsed =
        Address::<NetworkUnchecked>::from_str(address).map_err(|_| not_an_address(address))?;
    parsed
        .require_network(network)
        .map(|checked| checked.script_pubkey())
        .map_err(|_| DescriptorError::OtherChain {
            address: address.to_owned(),
            network,
        })
}

/// What was pasted by mistake must not reach a log.
fn not_an_address(text: &str) -> DescriptorError {
    let is_private = PrivateKey::from_wif(text).is_ok() || Xpriv::from_str(text).is_ok();
    match is_private {
        true => DescriptorError::PrivateKey,
        false => DescriptorError::NotAnAddress {
            address: text.to_owned(),
        },
    }
}

fn inner<'t>(descriptor: &'t str, function: &str) -> Option<&'t str> {
    descriptor
        .strip_prefix(function)?
        .strip_prefix('(')?
        .strip_suffix(')')
}

/// A descriptor may hold a private key, which must not reach a log.
fn invalid(descriptor: &str, reason: &str) -> DescriptorError {
    let shown = descriptor
        .split_once('(')
        .map_or("…", |(function, _)| function);
    let reveals = reason
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word.len() > 20);
    DescriptorError::Invalid {
        descriptor: format!("{shown}(…)"),
        reason: if reveals {
            "a key does not parse".to_owned()
        } else {
            reason.to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    const SCRIPT: &str = "0014751e76e8199196d454941c45d1b3a323f1433bd6";
    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    #[test]
    fn every_spelling_of_one_key_gives_one_script() {
        for text in [
            ADDRESS,
            &format!("addr({ADDRESS})"),
            &format!("raw({SCRIPT})"),
            &format!("wpkh({KEY})"),
        ] {
            assert_eq!(
                script_pubkey(text, Network::Regtest)
                    .unwrap()
                    .to_hex_string(),
                SCRIPT,
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_of_another_chain_is_refused() {
        let error = script_pubkey(ADDRESS, Network::Bitcoin).unwrap_err();
        assert!(
            matches!(error, DescriptorError::OtherChain { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("is not of chain main;"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_paid_to_is_refused() {
        for text in ["raw()", "raw(6a)"] {
            assert_eq!(
                script_pubkey(text, Network::Regtest),
                Err(DescriptorError::Unspendable),
                "{text}"
            );
        }
        assert!(matches!(
            script_pubkey("raw(zz)", Network::Regtest),
            Err(DescriptorError::NotHex { .. })
        ));
        assert!(matches!(
            script_pubkey("bc1nonsense", Network::Bitcoin),
            Err(DescriptorError::NotAnAddress { .. })
        ));
        for text in ["wpkh()", "wpkh(nonsense)", "wpkh(xpub/0/*)", "sh(", ""] {
            assert!(script_pubkey(text, Network::Regtest).is_err(), "{text}");
        }
    }

    #[test]
    fn a_private_key_does_not_reach_the_error() {
        let secret = "L4rK1yDtCWekvXuE6oXD9jCYfFNV2cWRpVuPLBcCU2z8TrisoyY1";
        let master = "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi";
        for secret in [secret, master] {
            for text in [
                secret,
                &format!("addr({secret})"),
                &format!("wpkh({secret})"),
            ] {
                let error = script_pubkey(text, Network::Bitcoin).unwrap_err();
                assert!(!error.to_string().contains(secret), "{error}");
            }
        }
    }
}
