//! Derive macros for `stratum-binary-sv2`, where they are documented and re-exported: `Encodable` and `Decodable`, with
//! the feature `with_serde` also `Serialize` and `Deserialize`, with `prop_test` also `Arbitrary`.
//!
//! All take structs with named fields and at most one lifetime. `Decodable` also implements `IntoOwned`.
//!
//! ```
//! use binary_sv2::{Decodable, Encodable, Str0255};
//!
//! #[derive(Debug, PartialEq, Encodable, Decodable)]
//! struct Greeting<'a> {
//!     number: u16,
//!     text: Str0255<'a>,
//! }
//!
//! let bytes = [7, 0, 2, b'h', b'i'];
//! let greeting = Greeting::from_bytes(&bytes).unwrap();
//! assert_eq!(greeting.number, 7);
//! assert_eq!(greeting.to_vec(), bytes);
//! ```

#[cfg(feature = "prop_test")]
mod arbitrary;
#[cfg(feature = "with_serde")]
mod with_serde;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, GenericParam, Lifetime, parse_macro_input};

/// Implements `binary_sv2::Encodable`: the fields one after another, in the order of the struct.
#[proc_macro_derive(Encodable)]
pub fn derive_encodable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, encodable)
}

/// Implements `binary_sv2::Decodable` and `binary_sv2::IntoOwned`: the fields one after another, borrowing from the
/// payload; an error names the field.
#[proc_macro_derive(Decodable)]
pub fn derive_decodable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, decodable)
}

/// Implements serde's `Serialize`: a struct of the fields in their order.
#[cfg(feature = "with_serde")]
#[proc_macro_derive(Serialize)]
pub fn derive_serialize(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, with_serde::serialize)
}

/// Implements serde's `Deserialize`, borrowing from the input where the fields do.
#[cfg(feature = "with_serde")]
#[proc_macro_derive(Deserialize)]
pub fn derive_deserialize(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, with_serde::deserialize)
}

/// Implements proptest's `Arbitrary` for the message that owns its fields: any value in each of them.
#[cfg(feature = "prop_test")]
#[proc_macro_derive(Arbitrary)]
pub fn derive_arbitrary(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input, arbitrary::arbitrary)
}

/// What the derives need to know of a struct.
struct Message<'i> {
    input: &'i DeriveInput,
    fields: Vec<&'i Field>,
    lifetime: Option<&'i Lifetime>,
}

impl Message<'_> {
    /// The names of the fields as they are on paper, without `r#`.
    fn field_names(&self) -> Vec<String> {
        let name = |field: &&Field| {
            let ident = field.ident.to_token_stream().to_string();
            ident.strip_prefix("r#").unwrap_or(&ident).to_owned()
        };
        self.fields.iter().map(name).collect()
    }
}

fn expand(input: &DeriveInput, implement: fn(&Message<'_>) -> Tokens) -> TokenStream {
    match inspect(input) {
        Ok(message) => implement(&message).into(),
        Err(error) => error.to_compile_error().into(),
    }
}

fn inspect(input: &DeriveInput) -> Result<Message<'_>, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "a message is a struct: enums and unions have no form on the wire",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(
            input.ident.span(),
            "a message has named fields: errors name the field",
        ));
    };
    let mut lifetime = None;
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(found) if lifetime.is_none() => lifetime = Some(&found.lifetime),
            GenericParam::Lifetime(found) => {
                return Err(Error::new(
                    found.span(),
                    "a message borrows from one payload: one lifetime at most",
                ));
            }
            other => {
                return Err(Error::new(
                    other.span(),
                    "a message has no type or const parameters",
                ));
            }
        }
    }
    Ok(Message {
        input,
        fields: fields.named.iter().collect(),
        lifetime,
    })
}

fn encodable(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let (impl_generics, type_generics, where_clause) = message.input.generics.split_for_impl();
    let fields: Vec<_> = message.fields.iter().map(|field| &field.ident).collect();
    // Named, so that the compiler points at the field's type when it cannot be encoded.
    let types: Vec<_> = message.fields.iter().map(|field| &field.ty).collect();
    quote! {
        #[automatically_derived]
        impl #impl_generics ::binary_sv2::Encodable for #name #type_generics #where_clause {
            #[inline]
            fn encoded_len(&self) -> usize {
                0 #(+ <#types as ::binary_sv2::Encodable>::encoded_len(&self.#fields))*
            }

            #[inline]
            fn encode(
                &self,
                writer: &mut ::binary_sv2::Writer<'_>,
            ) -> ::core::result::Result<(), ::binary_sv2::BufferTooShort> {
                #(<#types as ::binary_sv2::Encodable>::encode(&self.#fields, writer)?;)*
                ::core::result::Result::Ok(())
            }
        }
    }
}

fn decodable(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let where_clause = &message.input.generics.where_clause;
    let fields: Vec<_> = message.fields.iter().map(|field| &field.ident).collect();
    let types: Vec<_> = message.fields.iter().map(|field| &field.ty).collect();
    let field_names = message.field_names();
    let (payload, generics, owned) = match message.lifetime {
        Some(lifetime) => (quote!(#lifetime), quote!(<#lifetime>), quote!(<'static>)),
        None => (quote!('payload), quote!(), quote!()),
    };
    quote! {
        #[automatically_derived]
        impl<#payload> ::binary_sv2::Decodable<#payload> for #name #generics #where_clause {
            const FIXED_LEN: ::core::option::Option<usize> = {
                let lens: &[::core::option::Option<usize>] =
                    &[#(<#types as ::binary_sv2::Decodable<#payload>>::FIXED_LEN),*];
                ::binary_sv2::sum_of_fixed_lens(lens)
            };

            #[inline]
            fn decode(
                reader: &mut ::binary_sv2::Reader<#payload>,
            ) -> ::core::result::Result<Self, ::binary_sv2::DecodeError> {
                ::core::result::Result::Ok(Self {
                    #(#fields: match <#types as ::binary_sv2::Decodable<#payload>>::decode(reader) {
                        ::core::result::Result::Ok(value) => value,
                        ::core::result::Result::Err(error) => {
                            return ::core::result::Result::Err(error.in_field(#field_names));
                        }
                    },)*
                })
            }
        }

        #[automatically_derived]
        impl #generics ::binary_sv2::IntoOwned for #name #generics #where_clause {
            type Owned = #name #owned;

            fn into_owned(self) -> #name #owned {
                #name {
                    #(#fields: <#types as ::binary_sv2::IntoOwned>::into_owned(self.#fields),)*
                }
            }
        }
    }
}
