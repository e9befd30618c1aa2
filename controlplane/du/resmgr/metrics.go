package resmgr

import "github.com/prometheus/client_golang/prometheus"

// metrics are counted as things happen; what can be looked up is collected
// when somebody asks, in Manager.Collect.
type metrics struct {
	statements   prometheus.Counter
	transactions prometheus.Counter
	watchersCut  prometheus.Counter
	reports      *prometheus.HistogramVec
}

func newMetrics() *metrics {
	return &metrics{
		statements: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "resmgr_sql_statements_total", Help: "SQL statements that the resource manager has run.",
		}),
		transactions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "resmgr_sql_transactions_total", Help: "Write transactions of the resource manager.",
		}),
		watchersCut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "resmgr_watchers_cut_total", Help: "Watches that ended because their client took no data.",
		}),
		reports: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "resmgr_message_seconds", Help: "Time to apply a host's message.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"message"}),
	}
}

var (
	descHostUp    = prometheus.NewDesc("resmgr_host_up", "Whether the host is connected.", []string{"host", "hostname"}, nil)
	descHosts     = prometheus.NewDesc("resmgr_hosts", "Hosts known, by state.", []string{"state"}, nil)
	descResources = prometheus.NewDesc("resmgr_resources", "Resources in the catalogue, by kind.", []string{"kind"}, nil)
	descBytes     = prometheus.NewDesc("resmgr_catalogue_bytes", "Bytes that the catalogue's resources take.", nil, nil)
	descWatchers  = prometheus.NewDesc("resmgr_watchers", "Watches being served.", nil, nil)
	descRevision  = prometheus.NewDesc("resmgr_revision", "Changes of the catalogue since the start.", nil, nil)
)

// Describe is part of [prometheus.Collector].
func (m *Manager) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect is part of [prometheus.Collector].
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	m.metrics.statements.Collect(ch)
	m.metrics.transactions.Collect(ch)
	m.metrics.watchersCut.Collect(ch)
	m.metrics.reports.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descWatchers, float64(len(m.watchers)))
	m.mu.RLock()
	defer m.mu.RUnlock()
	up, size := 0, 0
	for _, h := range m.order {
		v := 0.0
		if h.connected() {
			v = 1
			up++
		}
		size += h.size
		gauge(descHostUp, v, string(h.id), h.hostname)
	}
	gauge(descHosts, float64(up), "connected")
	gauge(descHosts, float64(len(m.order)-up), "disconnected")
	gauge(descBytes, float64(size))
	gauge(descRevision, float64(m.feed.rev))
	kinds, _ := m.kindsLocked("")
	for _, k := range kinds {
		gauge(descResources, float64(k.Resources), k.Kind)
	}
}
