defmodule Senza.Error do
  @moduledoc """
  What the engine refuses, as `{:error, %Senza.Error{}}`. `reason` is for matching, the message names the thing and the
  rule, and the other fields hold what it names.

  | reason | also | when |
  |---|---|---|
  | `:closed` | | the node was stopped |
  | `:not_found` | `sensor` | nobody owns the sensor |
  | `:not_owner` | `sensor`, `node` | another node owns the sensor |
  | `:held_off` | `sensor`, `node`, `left_ms` | another node took the sensor over just now |
  | `:not_registered` | | the registration of this handle ended |
  | `:full` | `max` | a bound is reached |
  | `:invalid_id`, `:invalid_pattern`, `:invalid_value` | | it breaks the rule that the message names |
  | `:invalid_contract` | `field` | the same of a contract |
  | `:invalid_config` | `setting` | the same of a setting |
  | `:name_taken`, `:start_failed` | `node` | the node cannot start |
  | `:timeout` | `sensor` | the owner did not answer in time |
  | `:wire` | `sensor` | what another node sent, such as its answer, could not be read |
  | `:noproc` | | the process that a feed was to send to is gone |

  What no caller can mean, such as a term of another type, raises an `ArgumentError` instead.
  """

  defexception [:reason, :message, :sensor, :node, :field, :setting, :left_ms, :max]

  @type t :: %__MODULE__{
          reason: atom,
          message: String.t(),
          sensor: String.t() | nil,
          node: String.t() | nil,
          field: String.t() | nil,
          setting: String.t() | nil,
          left_ms: non_neg_integer | nil,
          max: non_neg_integer | nil
        }

  @doc false
  # What the compiled part refuses.
  @spec of(tuple) :: {:error, t}
  def of({:senza_error, :argument, message, _facts}), do: raise(ArgumentError, message)

  def of({:senza_error, reason, message, facts}),
    do: {:error, struct!(%__MODULE__{reason: reason, message: message}, facts)}
end
