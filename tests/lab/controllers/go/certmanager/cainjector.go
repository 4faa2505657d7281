package main

import (
	"context"
	"fmt"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clients "k8s.io/client-go/kubernetes/scheme"
	aggregator "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	certmanager "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	injector "github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/util"
)

func cainjector(ctx context.Context, arguments []string) error {
	if err := flags("cainjector").Parse(arguments); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clients.AddToScheme, certmanager.AddToScheme, apiextensions.AddToScheme, aggregator.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("kinds: %w", err)
		}
	}
	found, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	manager, err := ctrl.NewManager(
		util.RestConfigWithUserAgent(found, "cainjector"),
		ctrl.Options{Scheme: scheme, Metrics: metrics.Options{BindAddress: "0"}},
	)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	err = injector.RegisterAllInjectors(ctx, manager, injector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			injector.MutatingWebhookConfigurationName:   true,
			injector.ValidatingWebhookConfigurationName: true,
			injector.APIServiceName:                     true,
			injector.CustomResourceDefinitionName:       true,
		},
	})
	if err != nil {
		return fmt.Errorf("injectors: %w", err)
	}
	return manager.Start(ctx)
}
