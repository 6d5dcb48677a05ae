//! Requests of the dialer's methods.

use hilo_proto::dialer::v1 as dialer;
use prost::Message as _;

use crate::world::{Seeds, fresh};

/// The request of a method of `DialerService`.
pub fn body(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let (dialer_id, campaign_key) = (of.dialer.clone(), of.key.clone());
    Some(match name {
        "CreateDialer" => dialer::CreateDialerRequest {
            request_id: fresh(),
            name: format!("Marcador {}", of.word),
            campaign_key,
            account_key: of.key.clone(),
            template_name: "aviso".into(),
            template_language: "es".into(),
            per_minute: 10,
            ..Default::default()
        }
        .encode_to_vec(),
        "ImportRows" => dialer::ImportRowsRequest {
            dialer_id,
            request_id: fresh(),
            csv: b"number,1\n+51987654321,17\n".to_vec(),
            skip_bad: false,
        }
        .encode_to_vec(),
        "GetDialer" => dialer::GetDialerRequest { dialer_id }.encode_to_vec(),
        "ListDialers" => dialer::ListDialersRequest { campaign_key, ..Default::default() }.encode_to_vec(),
        "ListRows" => dialer::ListRowsRequest { dialer_id, ..Default::default() }.encode_to_vec(),
        "StartDialer" => dialer::StartDialerRequest { dialer_id }.encode_to_vec(),
        "PauseDialer" => dialer::PauseDialerRequest { dialer_id }.encode_to_vec(),
        "StopDialer" => dialer::StopDialerRequest { dialer_id }.encode_to_vec(),
        "AddOptOut" => {
            dialer::AddOptOutRequest { campaign_key, number: "+51987654321".into(), reason: String::new() }
                .encode_to_vec()
        }
        "RemoveOptOut" => {
            dialer::RemoveOptOutRequest { campaign_key, number: "+51987654321".into() }.encode_to_vec()
        }
        "ListOptOuts" => dialer::ListOptOutsRequest { campaign_key, ..Default::default() }.encode_to_vec(),
        _ => return None,
    })
}
