//! The pages of the book; their examples are run as documentation tests.
//!
//! [The book's first page](https://github.com/stratum-mining/stratum/blob/main/docs/book/README.md) lists them.

/// Makes the examples of pages to tests.
macro_rules! pages {
    ($($page:literal),* $(,)?) => {
        $(
            #[doc = include_str!($page)]
            const _: () = ();
        )*
    };
}

pages![
    "README.md",
    "binary-sv2.md",
    "bitcoin-node.md",
    "bitcoind.md",
    "buffer-sv2.md",
    "codec-sv2.md",
    "common-messages-sv2.md",
    "const-sv2.md",
    "extensions-sv2.md",
    "framing-sv2.md",
    "job-declaration-sv2.md",
    "mining-sv2.md",
    "network-helpers-sv2.md",
    "noise-sv2.md",
    "roles-logic-sv2.md",
    "sv1-api.md",
    "template-distribution-sv2.md",
    "translation.md",
];
