//! The derive `Arbitrary`.

use proc_macro2::{Group, Ident, TokenStream as Tokens, TokenTree};
use quote::{ToTokens, format_ident, quote};

use crate::Message;

pub(crate) fn arbitrary(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let fields: Vec<_> = message.fields.iter().map(|field| &field.ident).collect();
    let made: Vec<_> = (0..fields.len())
        .map(|position| format_ident!("field_{position}"))
        .collect();
    // A strategy makes values that outlive it, so the message owns what it could borrow.
    let owned = match message.lifetime {
        Some(_) => quote!(#name<'static>),
        None => quote!(#name),
    };
    // Tuples of strategies are limited to twelve: pairs in pairs are not.
    let strategy = message.fields.iter().rev().fold(
        quote!(::binary_sv2::proptest::strategy::Just(())),
        |rest, field| {
            let ty = match message.lifetime {
                Some(lifetime) => with_static(field.ty.to_token_stream(), &lifetime.ident),
                None => field.ty.to_token_stream(),
            };
            quote!((::binary_sv2::proptest::arbitrary::any::<#ty>(), #rest))
        },
    );
    let pattern = made
        .iter()
        .rev()
        .fold(quote!(()), |rest, field| quote!((#field, #rest)));
    quote! {
        #[automatically_derived]
        impl ::binary_sv2::proptest::arbitrary::Arbitrary for #owned {
            type Parameters = ();
            type Strategy = ::binary_sv2::proptest::strategy::BoxedStrategy<Self>;

            fn arbitrary_with(_: ()) -> Self::Strategy {
                let fields = #strategy;
                ::binary_sv2::proptest::strategy::Strategy::boxed(
                    ::binary_sv2::proptest::strategy::Strategy::prop_map(fields, |#pattern| #name { #(#fields: #made,)* }),
                )
            }
        }
    }
}

/// The type with `'static` where it has the message's lifetime.
fn with_static(ty: Tokens, lifetime: &Ident) -> Tokens {
    let mut is_lifetime = false;
    ty.into_iter()
        .map(|token| {
            let after_quote = is_lifetime;
            is_lifetime = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
            match token {
                TokenTree::Ident(ident) if after_quote && ident == *lifetime => {
                    Ident::new("static", ident.span()).into()
                }
                TokenTree::Group(group) => {
                    Group::new(group.delimiter(), with_static(group.stream(), lifetime)).into()
                }
                other => other,
            }
        })
        .collect()
}
