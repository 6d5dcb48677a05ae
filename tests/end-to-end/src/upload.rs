//! An agent's file on its way into a message, in one piece; resuming a broken one is `conversation`'s subject.

use anyhow::{Context, Result};
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1 as attention;

use crate::Agent;

impl Agent {
    /// Brings a file of at most a MiB to the server and gives the id of the finished upload.
    ///
    /// # Errors
    /// The refusal.
    pub async fn upload(&self, file_name: &str, media_type: &str, content: &[u8]) -> Result<String> {
        let begin = attention::BeginUploadRequest {
            file_name: file_name.to_owned(),
            media_type: media_type.to_owned(),
            size_bytes: i64::try_from(content.len())?,
            sha256: Digest256::of(content).to_string(),
            request_id: uuid::Uuid::now_v7().to_string(),
        };
        let mut client = self.attention();
        let upload = client.begin_upload(begin).await?.into_inner().upload.context("no upload")?;
        let upload_id = upload.upload_id;
        let chunk =
            attention::PutChunkRequest { upload_id: upload_id.clone(), offset: 0, content: content.to_vec() };
        client.put_chunk(chunk).await?;
        client.finish_upload(attention::FinishUploadRequest { upload_id: upload_id.clone() }).await?;
        Ok(upload_id)
    }
}
