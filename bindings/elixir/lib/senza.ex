defmodule Senza do
  @moduledoc """
  A node of a senza cluster in your own VM: register sensors, put readings, find any sensor of any node in less than a
  microsecond, and get what you asked for as messages.

      children = [{Senza, node: "a"}]
      {:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)

  Functions take the name of a node of this VM first, and may leave it out where that is `Senza`, the default:

      iex> {:ok, watch} = Senza.register("watch 1", type: "watch")
      iex> Senza.Sensor.put(watch, "pulse", 72)
      {:ok, 1}
      iex> Senza.put("watch 1", "pulse", 73)
      {:ok, 2}
      iex> {:ok, reading} = Senza.latest("watch 1", "pulse")
      iex> {reading.value, reading.seq, reading.node}
      {73, 2, "docs"}
      iex> Senza.SensorRegistry.whereis("watch 1") == {:ok, self()}
      true

  What is refused is `{:error, %Senza.Error{}}`; a term that no caller can mean raises an `ArgumentError`.
  """

  alias Senza.{Contract, Error, Feed, Filter, History, Many, Native, Reading, Sensor, Server}

  @typedoc "A node of this VM: the name that it was started with, or its reference."
  @type node_name :: atom | reference

  @typedoc """
  What sends messages `{:senza, feed, …}` to a process: see `subscribe/3`, `listen/2`, `follow_demand/3`.
  """
  @type feed :: reference

  @typedoc "One thing of a batch; see `subscribe/3`."
  @type item ::
          {:reading, sensor :: String.t(), attribute :: String.t(), Reading.value(), time :: integer, seq :: integer}
          | {:reading, Reading.t()}
          | {:measurement, map}
          | {:live, sensor :: String.t(), attribute :: String.t(), seq :: integer}
          | {:gap, sensor :: String.t(), attribute :: String.t(), from :: integer, to :: integer | :unknown,
             :overflow | :relay | :link | :beaten}
          | {:end, sensor :: String.t(), attribute :: String.t(), last :: integer, :unregistered | :moved}

  @typedoc "A claim to a sensor: the name of its node, and its number."
  @type claim :: {node :: String.t(), epoch :: pos_integer}

  @typedoc "What came to light when a node came into reach; see `heals/1`."
  @type heal :: %{
          node: String.t(),
          incarnation: integer,
          returned: boolean,
          at: integer,
          total: non_neg_integer,
          duplicates: [%{sensor: String.t(), winner: claim, loser: claim}]
        }

  @typedoc "How long one part of the way took; see `latencies/1`."
  @type latency :: %{
          hop: :source | :owner | :link | :queue | :local | :remote,
          node: String.t() | nil,
          readings: non_neg_integer,
          impossible: non_neg_integer,
          p50_us: non_neg_integer,
          p90_us: non_neg_integer,
          p99_us: non_neg_integer,
          p999_us: non_neg_integer,
          max_us: non_neg_integer
        }

  @typedoc "Something that happened; see `listen/2`."
  @type event ::
          {:sensor_registered | :sensor_unregistered, sensor :: String.t(), node :: String.t()}
          | {:sensor_moved, sensor :: String.t(), node :: String.t(), previous :: String.t()}
          | {:node_up | :node_down, node :: String.t()}
          | {:healed, node :: String.t(), sensors :: integer}
          | {:sensor_registered | :sensor_unregistered | :sensor_moved | :node_up | :node_down, map}
          | {:healed, heal}
          | {:events_lost, integer}

  @typedoc "A sensor as listings tell it."
  @type listed :: %{sensor: String.t(), type: String.t(), node: String.t(), epoch: integer, local: boolean}

  @typedoc "A time: microseconds since 1970, or a `DateTime`."
  @type time :: integer | DateTime.t()

  # === a node ===

  @doc "For supervisors: `{Senza, node: \"a\"}`. Several nodes in one VM have a `name` each."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      # It says farewell to the others and joins its threads.
      shutdown: 10_000
    }
  end

  @doc """
  Starts a node and links it to the caller; it ends with its process.

  | option | |
  |---|---|
  | `name` | what this VM calls it; default `Senza` |
  | `node` | its name in the cluster, `[a-z0-9][a-z0-9-]{0,62}`; default the host's |
  | `listen` | endpoints; default a free port of this machine alone, `"tcp/127.0.0.1:0"` |
  | `connect` | endpoints of other nodes; gossip finds the rest |
  | `mode` | `:cluster` (the default), `:local`, or `:shadow` with the options `shadow` of `shadow/2` |
  | `lossless` | attributes of which no contract leaves anything out, such as `"button"` |
  | `config` | the path of a TOML file; none is read unasked, and no environment |

  and the others of `senza node --help`, with `_`: `root`, `insecure`, `sensors_max`, `attributes_max`, `history_max`,
  `idle_unregister_s`, `lease_ms`, `silence_ms`, `takeover_holdoff_ms`, `zenoh`.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options \\ []), do: Server.start_link(options)

  @doc "The reference of a node: what the other functions look up by its name."
  @spec ref(node_name) :: reference
  def ref(node \\ __MODULE__)
  def ref(ref) when is_reference(ref), do: ref
  def ref(name), do: Server.ref(name)

  @doc "The node's name in its cluster."
  @spec name(node_name) :: String.t()
  def name(node \\ __MODULE__), do: node |> ref() |> Native.describe() |> elem(0)

  @doc "The endpoints that a node listens on, ports filled in: what others connect to."
  @spec listening(node_name) :: [String.t()]
  def listening(node \\ __MODULE__), do: node |> ref() |> Native.describe() |> elem(1)

  @doc "The nodes that are up, this one first."
  @spec nodes(node_name) ::
          [%{node: String.t(), incarnation: integer, sensors: integer, local: boolean}] | {:error, Error.t()}
  def nodes(node \\ __MODULE__) do
    with nodes when is_list(nodes) <- node |> ref() |> Native.nodes() |> checked() do
      for {name, incarnation, sensors, local} <- nodes do
        %{node: name, incarnation: incarnation, sensors: sensors, local: local}
      end
    end
  end

  @doc "How far a node takes part in its cluster."
  @spec mode(node_name) :: :cluster | :local | :shadow | {:error, Error.t()}
  def mode(node \\ __MODULE__), do: node |> ref() |> Native.mode() |> checked()

  @doc """
  Switches how far a node takes part, and answers the mode before. `:local` leaves the cluster for a while: others see
  it down, and its own sensors and subscriptions work on. `:cluster` comes back, and ends a shadow.
  """
  @spec switch(atom, :cluster | :local) :: :cluster | :local | :shadow | {:error, Error.t()}
  def switch(node \\ __MODULE__, mode) when mode in [:cluster, :local], do: Server.switch(node, mode)

  @doc """
  Leaves another registry in charge of `Senza.SensorRegistry.whereis/1`, which compares its every answer with what senza
  would have said. `switch(node, :cluster)` hands over.

  - `registry: MyApp.Registry`: a `Registry` with unique keys that are ids. It knows processes of its own node alone, so
    that sensors of other nodes are not held against it.
  - `existing: fun`: any other, for the whole cluster, as a function of an id that answers `{:ok, pid}`,
    `{:remote, node}` or `{:error, :not_found}`; with `ids: fun`, which answers all ids it knows, `compare/1` can be used
    too.
  - `on_disagreement`: a function of `%{sensor: id, existing: node | nil, senza: node | nil}`, or a pid that is sent
    `{:senza_disagreement, that}`. Default: a warning in the log, at most one a second.
  """
  @spec shadow(atom, keyword) :: :ok | {:error, Error.t()}
  def shadow(node \\ __MODULE__, options), do: Server.shadow(node, options)

  @doc "What comparing found so far: counts, and the newest disagreements, oldest first."
  @spec comparison(node_name) :: map | {:error, Error.t()}
  def comparison(node \\ __MODULE__), do: Senza.Shadow.comparison(ref(node))

  @doc "Compares all that the registry in charge and senza know; answers what differed."
  @spec compare(atom) :: [map] | {:error, Error.t()}
  def compare(node \\ __MODULE__), do: Senza.Shadow.compare(node)

  @doc """
  What the last 16 heals settled, oldest first.

  When a node comes into reach and its sensors are fetched, some may have been claimed by another node too. Each has one
  owner then, and the report lists up to 10,000 of them: `total` is how many there were. `returned` says whether the node
  had been here before in this life of its, `at` when its sensors were here, in microseconds since 1970.

      [%{node: "b", returned: true, total: 1, duplicates: [%{sensor: "watch 1", winner: {"a", 7}, loser: {"b", 5}}], …}]
  """
  @spec heals(node_name) :: [heal] | {:error, Error.t()}
  def heals(node \\ __MODULE__), do: node |> ref() |> Native.heals() |> checked()

  @doc """
  How long readings took on their way through a node, hop by hop, in microseconds: since it started, of a link since it
  was opened.

  | hop | from … to | node |
  |---|---|---|
  | `:source` | the device's time … its owner's table | |
  | `:owner` | this node's table … a frame to another node sent | that node |
  | `:link` | another node's sending … the frame taken in here | that node |
  | `:queue` | a subscription's queue … its reader | |
  | `:local` | the table … a reader on the same node | |
  | `:remote` | the owner's table … a reader on this, another node | |

  Readers are all subscriptions of this node; a process's mailbox comes after. What crossed clocks is corrected by what
  `clocks/1` answers; readings that came before they were sent all the same are `impossible`, and in no percentile.

      iex> %{hop: :source, node: nil, readings: 0, p99_us: 0} = hd(Senza.latencies())
      iex> Enum.map(Senza.latencies(), & &1.hop)
      [:source, :queue, :local, :remote]
  """
  @spec latencies(node_name) :: [latency] | {:error, Error.t()}
  def latencies(node \\ __MODULE__), do: node |> ref() |> Native.latencies() |> checked()

  @doc """
  The clocks of the other nodes that are up, less this node's, in microseconds, as far as is known: off by `error_us` at
  most.

      %{"b" => %{offset_us: -120, error_us: 85}}
  """
  @spec clocks(node_name) ::
          %{(node :: String.t()) => %{offset_us: integer, error_us: non_neg_integer}} | {:error, Error.t()}
  def clocks(node \\ __MODULE__), do: node |> ref() |> Native.clocks() |> checked()

  # === sensors ===

  @doc """
  Registers a sensor for the calling process, until that ends, and answers its handle; see `Senza.Sensor`.

  Options as `Senza.SensorRegistry.register/3`, which does the same for any process and answers `:ok`.
  """
  @spec register(String.t()) :: {:ok, Sensor.t()} | {:error, Error.t() | {:already_registered, pid}}
  def register(id), do: register(__MODULE__, id, [])

  @doc false
  def register(id, options) when is_binary(id) and is_list(options), do: register(__MODULE__, id, options)
  def register(node, id), do: register(node, id, [])

  @doc "The same on a node of another name."
  @spec register(node_name, String.t(), keyword) ::
          {:ok, Sensor.t()} | {:error, Error.t() | {:already_registered, pid}}
  def register(node, id, options), do: register_for(ref(node), id, self(), options, true)

  @doc false
  def register_for(ref, id, pid, options, handle_wanted) do
    {type, meta, conflict} = if options == [], do: {nil, nil, :takeover}, else: registration!(options)

    case Native.register(ref, id, pid, type, meta, conflict, handle_wanted) do
      {:senza_error, :busy, _, _} ->
        ref |> Native.register_large(id, pid, type, meta, conflict, handle_wanted) |> checked()

      registered ->
        checked(registered)
    end
  end

  defp registration!(options) do
    options = Keyword.validate!(options, type: nil, meta: nil, conflict: :takeover)
    unless is_atom(options[:conflict]), do: raise(ArgumentError, "conflict must be :takeover, :refuse or :force")
    {options[:type], options[:meta], options[:conflict]}
  end

  @doc "The owner of a sensor: the name of its node, and the number of its claim."
  @spec owner(node_name, String.t()) :: {:ok, claim} | {:error, :not_found | Error.t()}
  def owner(node \\ __MODULE__, id), do: node |> ref() |> Native.owner(id) |> checked()

  @doc "All sensors of the cluster that match a filter; see `subscribe/3`."
  @spec sensors(node_name, Filter.t()) :: [listed]
  def sensors(node \\ __MODULE__, filter \\ []), do: node |> stream(filter) |> Enum.to_list()

  @doc "The same page by page, as they are asked for."
  @spec stream(node_name, Filter.t()) :: Enumerable.t()
  def stream(node \\ __MODULE__, filter \\ [], page_max \\ 1_000) do
    {ref, filter} = {ref(node), Filter.raw!(filter)}

    next = fn
      :end ->
        {:halt, :end}

      from ->
        case Native.page(ref, from, filter, page_max) do
          {sensors, next} -> {sensors, next || :end}
          fault -> raise elem(Error.of(fault), 1)
        end
    end

    Stream.resource(fn -> nil end, next, fn _ -> :ok end)
    |> Stream.map(fn {sensor, type, node, epoch, local} ->
      %{sensor: sensor, type: type, node: node, epoch: epoch, local: local}
    end)
  end

  @doc "What all subscriptions of the cluster together want of a sensor of this node; `nil` where nobody watches it."
  @spec demand(node_name, String.t()) :: Contract.want() | nil | {:error, Error.t()}
  def demand(node \\ __MODULE__, id), do: node |> ref() |> Native.demand(id) |> checked()

  @doc """
  Tells the calling process what is wanted of a sensor of this node: as it is, and whenever it is another.

  It gets `{:senza, feed, {:demand, sensor, demand}}`, where `demand` is what `demand/2` answers. A demand is a state and
  no queue: one message is on its way, and after `ack/1` comes what is newest then, where that is another. The last
  message is `{:senza, feed, :closed}`: the sensor was unregistered, its process ended, another node took it over, the
  node stopped, or it was ended by `unsubscribe/1`.

      def handle_info({:senza, feed, {:demand, _sensor, demand}}, device) do
        Senza.ack(feed)
        {:noreply, MyApp.Device.send_no_more_than(device, demand)}
      end

  A subscription is to attributes: a device that waits to be watched makes its own first, by `Senza.Sensor.declare/2`.
  By a handle it is `Senza.Sensor.follow_demand/2`. The option `to` names another process that gets the messages.

      iex> {:ok, lamp} = Senza.register("lamp 1")
      iex> :ok = Senza.Sensor.declare(lamp, ["watts"])
      iex> {:ok, feed} = Senza.follow_demand("lamp 1")
      iex> Senza.next(feed)
      {:ok, {:demand, "lamp 1", nil}}
      iex> {:ok, _} = Senza.subscribe("lamp%201/watts", max_rate: 2)
      iex> {:ok, {:demand, "lamp 1", demand}} = Senza.next(feed)
      iex> demand
      %{pace: :interval, interval_us: 500_000, deadband: nil, heartbeat_ms: 0}
  """
  @spec follow_demand(String.t()) :: {:ok, feed} | {:error, Error.t()}
  def follow_demand(id), do: follow_demand(__MODULE__, id, [])

  @doc false
  def follow_demand(id, options) when is_binary(id), do: follow_demand(__MODULE__, id, options)
  def follow_demand(node, id), do: follow_demand(node, id, [])

  @doc "The same on a node of another name."
  @spec follow_demand(node_name, String.t(), keyword) :: {:ok, feed} | {:error, Error.t()}
  def follow_demand(node, id, options), do: Feed.follow_demand(&Native.follow_demand(ref(node), id, &1), options)

  # === readings in ===

  @doc """
  Puts one reading of a sensor of this node, and answers its number.

  The option `time` is the device's, a `t:time/0`; without it the reading is stamped now. Values:
  `t:Senza.Reading.value/0`. Who puts often holds a handle: `Senza.Sensor.put/4`.
  """
  @spec put(String.t(), String.t(), Reading.value()) :: {:ok, pos_integer} | {:error, Error.t()}
  def put(sensor, attribute, value), do: put(__MODULE__, sensor, attribute, value, [])

  @doc false
  def put(sensor, attribute, value, options) when is_binary(sensor) do
    put(__MODULE__, sensor, attribute, value, options)
  end

  def put(node, sensor, attribute, value), do: put(node, sensor, attribute, value, [])

  @doc "The same on a node of another name."
  @spec put(node_name, String.t(), String.t(), Reading.value(), keyword) :: {:ok, pos_integer} | {:error, Error.t()}
  def put(node, sensor, attribute, value, options) do
    case Native.put(ref(node), sensor, attribute, value, source_time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      {:senza_error, :busy, _, _} -> put_large(ref(node), sensor, attribute, value, options)
      fault -> Error.of(fault)
    end
  end

  defp put_large(ref, sensor, attribute, value, options) do
    case Native.put_large(ref, sensor, attribute, value, source_time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      fault -> Error.of(fault)
    end
  end

  @doc """
  Puts many readings, each `{sensor, attribute, value}` or `{sensor, attribute, value, time}`; those of one sensor in the
  order of the list.

  A lock is taken once for all that share it. Those that were refused are answered by their places, counted from 0, and
  the others are taken. Lists of more than 256, or of more than 64 KiB of text and JSON, run on a dirty scheduler.

      iex> {:ok, _} = Senza.register("scale")
      iex> Senza.put_many([{"scale", "kg", 1.5}, {"scale", "kg", 2.0, ~U[2026-01-01 00:00:00Z]}])
      :ok
      iex> {:refused, [{1, error}]} = Senza.put_many([{"scale", "kg", 1.5}, {"nobody's", "kg", 2.0}])
      iex> error.reason
      :not_found
  """
  @spec put_many(node_name, [tuple]) :: :ok | {:refused, [{non_neg_integer, Error.t()}]} | {:error, Error.t()}
  def put_many(node \\ __MODULE__, readings), do: Many.put(ref(node), readings)

  @doc false
  def source_time([]), do: nil
  def source_time(time: time), do: micros(time)
  def source_time(other), do: raise(ArgumentError, "options of a put are [time: time], got: #{inspect(other)}")

  @doc false
  def micros(%DateTime{} = time), do: DateTime.to_unix(time, :microsecond)
  def micros(other), do: other

  # === readings out ===

  @doc "The latest reading of an attribute of a sensor of *this* node."
  @spec latest(node_name, String.t(), String.t()) :: {:ok, Reading.t()} | {:error, :not_found | Error.t()}
  def latest(node \\ __MODULE__, sensor, attribute) do
    ref = ref(node)

    case Native.latest(ref, sensor, attribute) do
      {:senza_error, :busy, _, _} -> ref |> Native.latest_large(sensor, attribute) |> checked()
      found -> checked(found)
    end
  end

  @doc """
  The newest readings of an attribute of a sensor of *any* node, oldest first: its owner is asked.

  Options: `last` (how many, default 100), `from` and `to` (each a `t:time/0`), `timeout` (milliseconds, default 5,000).
  Another node answers by one message: the newest 65,535 readings at most, and 4 MiB.

      iex> {:ok, _} = Senza.register("tank")
      iex> for level <- 1..3, do: Senza.put("tank", "level", level)
      iex> {:ok, readings} = Senza.history("tank", "level", last: 2)
      iex> Enum.map(readings, & &1.value)
      [2, 3]
  """
  @spec history(String.t(), String.t()) :: {:ok, [Reading.t()]} | {:error, Error.t()}
  def history(sensor, attribute), do: history(__MODULE__, sensor, attribute, [])

  @doc false
  def history(sensor, attribute, options) when is_list(options), do: history(__MODULE__, sensor, attribute, options)
  def history(node, sensor, attribute), do: history(node, sensor, attribute, [])

  @doc "The same on a node of another name."
  @spec history(node_name, String.t(), String.t(), keyword) :: {:ok, [Reading.t()]} | {:error, Error.t()}
  def history(node, sensor, attribute, options), do: History.ask(ref(node), sensor, attribute, options)

  @doc """
  Subscribes the calling process to what matches a filter, on every node, sensors that come later included.

  It gets `{:senza, feed, batch}`, where a batch is a list, in order of arrival:

  - `{:reading, sensor, attribute, value, time, seq}`; by `format: :struct`, `{:reading, %Senza.Reading{}}`; by
    `format: :measurement`, `{:measurement, %{sensor_id: …, attribute_id: …, payload: …, timestamp: milliseconds}}`;
  - `{:gap, sensor, attribute, from, to, reason}`: the readings of these numbers were lost, told before the next one;
  - `{:end, sensor, attribute, last, reason}`: no more of this series comes, its sensor was unregistered or moved;
  - `{:live, sensor, attribute, seq}`, rarely: after a start, what follows is numbered from the one after `seq`.

  Every batch is acknowledged by `ack/1`, once it is worked off. No more than `window` batches are on their way before
  that, so that a slow process's mailbox stays bounded; what comes meanwhile waits in the subscription's queue, and its
  `overflow` says what becomes of more. The last message is `{:senza, feed, :closed}`.

      def handle_info({:senza, feed, batch}, state) when is_list(batch) do
        state = Enum.reduce(batch, state, &item/2)
        Senza.ack(feed)
        {:noreply, state}
      end

  The filter is a pattern over `<sensor>/<attribute>` in percent-encoding, such as `"watch%20$*/pulse"`, or lists of
  `sensors`, `patterns`, `attributes`, `types` and `nodes`, of which each that is given must match.

  | option | |
  |---|---|
  | `pace` | `:every` (the default), or `:latest`: the newest of each series that was not taken yet |
  | `max_rate` | at most so many readings of a series in a second: the newest |
  | `deadband`, `deadband_percent` | leaves out what changed by no more than that |
  | `heartbeat_ms` | what was left out is delivered all the same after so long |
  | `overflow` | `:drop_oldest` (the default), `:drop_newest`, `:conflate`, `:close`, `{:block, ms}` |
  | `queue_max` | readings that wait at most, default 65,536 |
  | `start` | `:live` (the default), `:latest`, `{:last, count}`, `{:since, time}`; of other nodes' series 4,096 at most |
  | `window`, `batch_max` | batches on their way, default 4; readings of one, default 1,024 |
  | `format` | what a reading is: `:tuple` (the default), `:struct`, `:measurement` |
  | `to` | another process that gets the messages |

      iex> {:ok, _} = Senza.register("door 1")
      iex> {:ok, feed} = Senza.subscribe("door%20$*/open")
      iex> Senza.put("door 1", "open", true, time: 1_700_000_000_000_000)
      iex> receive do: ({:senza, ^feed, batch} -> batch)
      [{:reading, "door 1", "open", true, 1_700_000_000_000_000, 1}]
      iex> Senza.unsubscribe(feed)
      :ok
  """
  @spec subscribe(Filter.t()) :: {:ok, feed} | {:error, Error.t()}
  def subscribe(filter), do: subscribe(__MODULE__, filter, [])

  @doc false
  def subscribe(filter, options) when is_binary(filter) or is_list(filter) or is_map(filter) do
    subscribe(__MODULE__, filter, options)
  end

  def subscribe(node, filter), do: subscribe(node, filter, [])

  @doc "The same on a node of another name."
  @spec subscribe(node_name, Filter.t(), keyword) :: {:ok, feed} | {:error, Error.t()}
  def subscribe(node, filter, options), do: Feed.subscribe(ref(node), filter, options)

  @doc """
  Tells the calling process what happens to sensors and nodes from now on, in order per sensor.

  It gets `{:senza, feed, events}`, lists of `t:event/0`, which are acknowledged as batches are; see `subscribe/3`.
  Options: `window` (default 4), `batch_max` (default 1,024), `to`, `format`. More than 65,536 that wait are lost, and told
  as `{:events_lost, count}`.

  By `format: :map` an event is its name and all that is known of it:

  - `{:sensor_registered | :sensor_unregistered, %{sensor: id, type: type, node: name, epoch: number}}`;
  - `{:sensor_moved, that with previous: {name, epoch}}`;
  - `{:node_up | :node_down, %{node: name, incarnation: number}}`;
  - `{:healed, report}`, as `heals/1` has them.

      iex> {:ok, feed} = Senza.listen()
      iex> :ok = Senza.SensorRegistry.register("lamp", self())
      iex> receive do: ({:senza, ^feed, events} -> events)
      [{:sensor_registered, "lamp", "docs"}]
  """
  @spec listen(node_name | keyword, keyword) :: {:ok, feed} | {:error, Error.t()}
  def listen(node \\ __MODULE__, options \\ [])
  def listen(options, []) when is_list(options), do: listen(__MODULE__, options)
  def listen(node, options), do: Feed.listen(ref(node), options)

  @doc "Acknowledges messages of a feed that were worked off: so many more may come."
  @spec ack(feed, pos_integer) :: :ok
  def ack(feed, count \\ 1) when count in 1..0xFFFF_FFFF do
    case Native.ack(feed, count) do
      :ok -> :ok
      fault -> Error.of(fault)
    end
  end

  @doc """
  The next message of a feed of the calling process, acknowledged: for scripts and tests.

  `:closed` at its end, `:timeout` after so many milliseconds without one.
  """
  @spec next(feed, timeout) ::
          {:ok, [item] | [event] | {:demand, String.t(), Contract.want() | nil}} | :closed | :timeout
  def next(feed, timeout \\ 5_000), do: Feed.next(feed, timeout)

  @doc """
  Ends a feed. Where it is the calling process's own, none of its messages is in the mailbox afterwards.
  """
  @spec unsubscribe(feed) :: :ok
  def unsubscribe(feed), do: Feed.unsubscribe(feed)

  @doc "Other filters for a subscription: what matched before and still does goes on without gap or duplicate."
  @spec change(feed, Filter.t() | [Filter.t()]) :: :ok | {:error, Error.t()}
  def change(feed, filters), do: Feed.change(feed, filters)

  @doc """
  What became of every reading offered to a subscription:
  `offered = delivered + conflated + filtered + dropped + queued`.
  """
  @spec ledger(feed) :: %{atom => non_neg_integer}
  def ledger(feed), do: Feed.ledger(feed)

  # === what comes back ===

  @doc false
  def checked({:senza_error, _, _, _} = fault), do: Error.of(fault)
  def checked(answer), do: answer

  @doc false
  def count!(what, count, first..last) do
    if is_integer(count) and count in first..last, do: count, else: raise(ArgumentError, rule(what, count, first, last))
  end

  defp rule(what, count, first, last), do: "#{what} must be an integer from #{first} to #{last}, got: #{inspect(count)}"
end
