defmodule Senza.Log do
  @moduledoc """
  What the compiled part logs, through `Logger`. Nothing of it is seen unless this process runs:

      children = [{Senza.Log, level: :info}, {Senza, node: "a"}]

  One is for all nodes of the VM; it ends with its process.

  | option | |
  |---|---|
  | `level` | the least that is told: `:error`, `:warning`, `:info` (the default), `:debug`; nothing of Zenoh's |
  | `filter` | instead: levels by target, such as `"info,senza_mesh=debug,zenoh=warn"` |

  A filter is as `senza node --log` has it, by the rules of `EnvFilter` of the crate `tracing-subscriber`; one that it
  does not read is `{:error, %Senza.Error{reason: :invalid_config, setting: "filter"}}`.

  The message is the event's, followed by its fields as `name=value`. The metadata are `domain: [:elixir, :senza]`,
  `application: :senza`, `target` (`"senza_mesh::engine"`), `fields` (`%{"node" => "b"}`), `thread`, `file`, `line`, and
  `time`, at which it was logged. What Rust calls trace is `:debug` here.

  Whoever logs waits for nobody: at most 1,024 records wait for this process, and what comes then is dropped and counted,
  which a warning tells. Records keep 4 KiB of text.
  """

  use GenServer

  require Logger

  alias Senza.Native

  @levels %{error: "error", warning: "warn", info: "info", debug: "debug"}
  @always [application: :senza, domain: [:senza]]

  @doc "Starts forwarding, for as long as the process lives that is linked to the caller."
  @spec start_link([{:level, :error | :warning | :info | :debug} | {:filter, String.t()}]) :: GenServer.on_start()
  def start_link(options \\ []) do
    filter = options |> Keyword.validate!([:level, :filter]) |> filter!()
    GenServer.start_link(__MODULE__, filter, name: __MODULE__)
  end

  defp filter!([]), do: filter!(level: :info)
  defp filter!(level: level) when is_map_key(@levels, level), do: "#{@levels[level]},zenoh=off"
  defp filter!(level: other), do: refuse!("level must be one of #{inspect(Map.keys(@levels))}", other)
  defp filter!(filter: filter) when is_binary(filter), do: filter
  defp filter!(filter: other), do: refuse!("filter must be a string", other)
  defp filter!(both), do: refuse!("a log has a level or a filter", both)

  defp refuse!(rule, got), do: raise(ArgumentError, "#{rule}, got: #{inspect(got)}")

  @impl true
  def init(filter) do
    case filter |> Native.follow_log(self()) |> Senza.checked() do
      {:ok, feed} -> {:ok, feed}
      {:error, error} -> {:stop, error}
    end
  end

  @impl true
  def handle_info({:senza, feed, records}, feed) when is_list(records) do
    Enum.each(records, &log/1)
    Senza.ack(feed)
    {:noreply, feed}
  end

  def handle_info({:senza, feed, :closed}, feed), do: {:stop, :normal, feed}
  def handle_info(_other, feed), do: {:noreply, feed}

  defp log({level, time, target, message, fields, {file, line}, thread}) do
    about = [
      time: time,
      target: target,
      fields: Map.new(fields),
      thread: thread,
      file: file && to_charlist(file),
      line: line
    ]

    Logger.bare_log(level, [message | Enum.map(fields, &shown/1)], @always ++ about)
  end

  defp log({:lost, count}) do
    Logger.bare_log(:warning, "#{count} records of senza's log were dropped: more came than were taken", @always)
  end

  defp shown({name, value}), do: " #{name}=#{value}"
end
