//! The binary data types of Stratum V2: Reader and Writer, Encodable and Decodable.
