//! The message tables: one line per message (specification 8).
//!
//! Each table is a macro that hands its lines to another macro, so that constants, enums, parsers and fuzz targets are
//! made from the same line. A line reads: type, constant, name, extension, number, channel bit, direction.

/// Hands the common messages to `$callback`, after the tokens in the optional brackets.
#[macro_export]
macro_rules! common_messages {
    ($($callback:ident)::+ $(, [$($head:tt)*])?) => {
        $($callback)::+! {
            $($($head)*)?
            SetupConnection<'a>,                       SETUP_CONNECTION,                            "SetupConnection",                         0x0000, 0x00, false, ToServer;
            SetupConnectionSuccess,                    SETUP_CONNECTION_SUCCESS,                    "SetupConnection.Success",                 0x0000, 0x01, false, ToClient;
            SetupConnectionError<'a>,                  SETUP_CONNECTION_ERROR,                      "SetupConnection.Error",                   0x0000, 0x02, false, ToClient;
            ChannelEndpointChanged,                    CHANNEL_ENDPOINT_CHANGED,                    "ChannelEndpointChanged",                  0x0000, 0x03, true,  ToClient;
            Reconnect<'a>,                             RECONNECT,                                   "Reconnect",                               0x0000, 0x04, false, ToClient;
        }
    };
}

/// Hands the mining messages to `$callback`, after the tokens in the optional brackets.
#[macro_export]
macro_rules! mining_messages {
    ($($callback:ident)::+ $(, [$($head:tt)*])?) => {
        $($callback)::+! {
            $($($head)*)?
            OpenStandardMiningChannel<'a>,             OPEN_STANDARD_MINING_CHANNEL,                "OpenStandardMiningChannel",               0x0000, 0x10, false, ToServer;
            OpenStandardMiningChannelSuccess<'a>,      OPEN_STANDARD_MINING_CHANNEL_SUCCESS,        "OpenStandardMiningChannel.Success",       0x0000, 0x11, false, ToClient;
            OpenMiningChannelError<'a>,                OPEN_MINING_CHANNEL_ERROR,                   "OpenMiningChannel.Error",                 0x0000, 0x12, false, ToClient;
            OpenExtendedMiningChannel<'a>,             OPEN_EXTENDED_MINING_CHANNEL,                "OpenExtendedMiningChannel",               0x0000, 0x13, false, ToServer;
            OpenExtendedMiningChannelSuccess<'a>,      OPEN_EXTENDED_MINING_CHANNEL_SUCCESS,        "OpenExtendedMiningChannel.Success",       0x0000, 0x14, false, ToClient;
            NewMiningJob,                              NEW_MINING_JOB,                              "NewMiningJob",                            0x0000, 0x15, true,  ToClient;
            UpdateChannel,                             UPDATE_CHANNEL,                              "UpdateChannel",                           0x0000, 0x16, true,  ToServer;
            UpdateChannelError<'a>,                    UPDATE_CHANNEL_ERROR,                        "UpdateChannel.Error",                     0x0000, 0x17, true,  ToClient;
            CloseChannel<'a>,                          CLOSE_CHANNEL,                               "CloseChannel",                            0x0000, 0x18, true,  Both;
            SetExtranoncePrefix<'a>,                   SET_EXTRANONCE_PREFIX,                       "SetExtranoncePrefix",                     0x0000, 0x19, true,  ToClient;
            SubmitSharesStandard,                      SUBMIT_SHARES_STANDARD,                      "SubmitSharesStandard",                    0x0000, 0x1a, true,  ToServer;
            SubmitSharesExtended<'a>,                  SUBMIT_SHARES_EXTENDED,                      "SubmitSharesExtended",                    0x0000, 0x1b, true,  ToServer;
            SubmitSharesSuccess,                       SUBMIT_SHARES_SUCCESS,                       "SubmitShares.Success",                    0x0000, 0x1c, true,  ToClient;
            SubmitSharesError<'a>,                     SUBMIT_SHARES_ERROR,                         "SubmitShares.Error",                      0x0000, 0x1d, true,  ToClient;
            NewExtendedMiningJob<'a>,                  NEW_EXTENDED_MINING_JOB,                     "NewExtendedMiningJob",                    0x0000, 0x1f, true,  ToClient;
            SetNewPrevHash,                            SET_NEW_PREV_HASH,                           "SetNewPrevHash",                          0x0000, 0x20, true,  ToClient;
            SetTarget,                                 SET_TARGET,                                  "SetTarget",                               0x0000, 0x21, true,  ToClient;
            SetCustomMiningJob<'a>,                    SET_CUSTOM_MINING_JOB,                       "SetCustomMiningJob",                      0x0000, 0x22, true,  ToServer;
            SetCustomMiningJobSuccess,                 SET_CUSTOM_MINING_JOB_SUCCESS,               "SetCustomMiningJob.Success",              0x0000, 0x23, true,  ToClient;
            SetCustomMiningJobError<'a>,               SET_CUSTOM_MINING_JOB_ERROR,                 "SetCustomMiningJob.Error",                0x0000, 0x24, true,  ToClient;
            SetGroupChannel<'a>,                       SET_GROUP_CHANNEL,                           "SetGroupChannel",                         0x0000, 0x25, false, ToClient;
        }
    };
}

/// Hands the job declaration messages to `$callback`, after the tokens in the optional brackets.
#[macro_export]
macro_rules! job_declaration_messages {
    ($($callback:ident)::+ $(, [$($head:tt)*])?) => {
        $($callback)::+! {
            $($($head)*)?
            AllocateMiningJobToken<'a>,                ALLOCATE_MINING_JOB_TOKEN,                   "AllocateMiningJobToken",                  0x0000, 0x50, false, ToServer;
            AllocateMiningJobTokenSuccess<'a>,         ALLOCATE_MINING_JOB_TOKEN_SUCCESS,           "AllocateMiningJobToken.Success",          0x0000, 0x51, false, ToClient;
            ProvideMissingTransactions<'a>,            PROVIDE_MISSING_TRANSACTIONS,                "ProvideMissingTransactions",              0x0000, 0x55, false, ToClient;
            ProvideMissingTransactionsSuccess<'a>,     PROVIDE_MISSING_TRANSACTIONS_SUCCESS,        "ProvideMissingTransactions.Success",      0x0000, 0x56, false, ToServer;
            DeclareMiningJob<'a>,                      DECLARE_MINING_JOB,                          "DeclareMiningJob",                        0x0000, 0x57, false, ToServer;
            DeclareMiningJobSuccess<'a>,               DECLARE_MINING_JOB_SUCCESS,                  "DeclareMiningJob.Success",                0x0000, 0x58, false, ToClient;
            DeclareMiningJobError<'a>,                 DECLARE_MINING_JOB_ERROR,                    "DeclareMiningJob.Error",                  0x0000, 0x59, false, ToClient;
            PushSolution<'a>,                          PUSH_SOLUTION,                               "PushSolution",                            0x0000, 0x60, false, ToServer;
        }
    };
}

/// Hands the template distribution messages to `$callback`, after the tokens in the optional brackets.
#[macro_export]
macro_rules! template_distribution_messages {
    ($($callback:ident)::+ $(, [$($head:tt)*])?) => {
        $($callback)::+! {
            $($($head)*)?
            CoinbaseOutputConstraints,                 COINBASE_OUTPUT_CONSTRAINTS,                 "CoinbaseOutputConstraints",               0x0000, 0x70, false, ToServer;
            NewTemplate<'a>,                           NEW_TEMPLATE,                                "NewTemplate",                             0x0000, 0x71, false, ToClient;
            SetNewPrevHash,                            SET_NEW_PREV_HASH,                           "SetNewPrevHash",                          0x0000, 0x72, false, ToClient;
            RequestTransactionData,                    REQUEST_TRANSACTION_DATA,                    "RequestTransactionData",                  0x0000, 0x73, false, ToServer;
            RequestTransactionDataSuccess<'a>,         REQUEST_TRANSACTION_DATA_SUCCESS,            "RequestTransactionData.Success",          0x0000, 0x74, false, ToClient;
            RequestTransactionDataError<'a>,           REQUEST_TRANSACTION_DATA_ERROR,              "RequestTransactionData.Error",            0x0000, 0x75, false, ToClient;
            SubmitSolution<'a>,                        SUBMIT_SOLUTION,                             "SubmitSolution",                          0x0000, 0x76, false, ToServer;
        }
    };
}

/// Hands the extension negotiation messages to `$callback`, after the tokens in the optional brackets.
#[macro_export]
macro_rules! extension_negotiation_messages {
    ($($callback:ident)::+ $(, [$($head:tt)*])?) => {
        $($callback)::+! {
            $($($head)*)?
            RequestExtensions<'a>,                     REQUEST_EXTENSIONS,                          "RequestExtensions",                       0x0001, 0x00, false, ToServer;
            RequestExtensionsSuccess<'a>,              REQUEST_EXTENSIONS_SUCCESS,                  "RequestExtensions.Success",               0x0001, 0x01, false, ToClient;
            RequestExtensionsError<'a>,                REQUEST_EXTENSIONS_ERROR,                    "RequestExtensions.Error",                 0x0001, 0x02, false, ToClient;
        }
    };
}
